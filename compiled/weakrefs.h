/* Included before all else in the C that mypyc writes.

   Until Python 3.12 a compiled class that is generic takes weak references, but mypyc's deallocators do not
   tell them: a reference would point to what has been freed. The deallocators are the only ones that untrack an
   object, which is when CPython's own tell. */

#ifndef REFLOOP_WEAKREFS_H
#define REFLOOP_WEAKREFS_H

#include <Python.h>

static inline void refloop_untrack(PyObject *object)
{
    PyObject_GC_UnTrack(object);
    if (Py_TYPE(object)->tp_weaklistoffset > 0)
        PyObject_ClearWeakRefs(object);
}

#define PyObject_GC_UnTrack(object) refloop_untrack((PyObject *)(object))

#endif
