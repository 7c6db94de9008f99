/* Plays the kernel vectors of loopspec on the kernel at hand: one file, no dependency but libc and Linux.
 *
 *     cc -O2 -o run_kernel run_kernel.c && ./run_kernel kernel.json
 *
 * Exit status 0: every result was among those allowed; 1: some was not, and is told; 2: the file cannot be read.
 *
 * Each vector is played by a child of its own, in which model number n is descriptor BASE + n: the standard three
 * stay, all others are closed, and the limit on descriptors makes room for as many as the model has. The file is
 * read, and parsed, before that. The algorithm is the one at the end of README.md.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BASE = 3, RESULT = 4096 };

static void fail(const char *format, ...) {
    va_list rest;
    va_start(rest, format);
    fprintf(stderr, "run_kernel: ");
    vfprintf(stderr, format, rest);
    fputc('\n', stderr);
    va_end(rest);
    exit(2);
}

/* --- JSON ------------------------------------------------------------------------------------------------
 *
 * A value knows where its text begins and ends; two results are equal if their texts are, since the file is
 * written without blanks and the runner writes its results in the same way. */

typedef struct Value Value;
struct Value {
    enum { NOTHING, NUMBER, STRING, LIST, OBJECT, TRUE, FALSE } kind;
    const char *text, *end;
    long long number;
    Value *first, *next;        /* the members of a list or an object, and the following one */
    const char *key, *key_end;  /* of a member of an object */
};

static const char *at, *stop;

static void want(char wanted) {
    if (at >= stop || *at != wanted)
        fail("'%c' expected near %.20s", wanted, at < stop ? at : "the end");
    at++;
}

static void blanks(void) {
    while (at < stop && strchr(" \t\r\n", *at))
        at++;
}

static void string(const char **from, const char **to) {
    want('"');
    *from = at;
    while (at < stop && *at != '"')
        at += *at == '\\' ? 2 : 1;
    *to = at;
    want('"');
}

static Value *value(void) {
    Value *made = calloc(1, sizeof *made), **last = &made->first;
    if (!made)
        fail("no memory");
    blanks();
    made->text = at;
    if (at < stop && *at == '"') {
        made->kind = STRING;
        string(&made->text, &made->end);
        return made;
    }
    if (at < stop && (*at == '[' || *at == '{')) {
        char closes = *at == '[' ? ']' : '}';
        made->kind = *at++ == '[' ? LIST : OBJECT;
        for (blanks(); at < stop && *at != closes; blanks()) {
            const char *key = NULL, *key_end = NULL;
            if (made->first)
                want(',');
            blanks();
            if (made->kind == OBJECT) {
                string(&key, &key_end);
                blanks();
                want(':');
            }
            *last = value();
            (*last)->key = key;
            (*last)->key_end = key_end;
            last = &(*last)->next;
        }
        want(closes);
    } else if (stop - at >= 4 && !strncmp(at, "true", 4)) {
        made->kind = TRUE;
        at += 4;
    } else if (stop - at >= 5 && !strncmp(at, "false", 5)) {
        made->kind = FALSE;
        at += 5;
    } else {
        char *after;
        made->kind = NUMBER;
        made->number = strtoll(at, &after, 10);
        if (after == at)
            fail("no value near %.20s", at);
        at = after;
    }
    made->end = at;
    return made;
}

static int is(const char *from, const char *to, const char *word) {
    return (size_t)(to - from) == strlen(word) && !strncmp(from, word, to - from);
}

static Value *member(const Value *object, const char *name) {
    for (Value *one = object->first; one; one = one->next)
        if (one->key && is(one->key, one->key_end, name))
            return one;
    fail("%s is missing near %.40s", name, object->text);
    return NULL;
}

static long long number(const Value *object, const char *name) { return member(object, name)->number; }
static int yes(const Value *object, const char *name) { return member(object, name)->kind == TRUE; }
static int named(const Value *object, const char *name, const char *word) {
    const Value *found = member(object, name);
    return is(found->text, found->end, word);
}

/* --- results -------------------------------------------------------------------------------------------------
 *
 * A call writes its result as the file has it. */

static char result[RESULT];

static void put(const char *format, ...) {
    size_t length = strlen(result);
    va_list rest;
    va_start(rest, format);
    vsnprintf(result + length, sizeof result - length, format, rest);
    va_end(rest);
}

static const struct { int number; const char *name; } ERRORS[] = {
    {EPERM, "EPERM"}, {ENOENT, "ENOENT"}, {EINTR, "EINTR"}, {EBADF, "EBADF"}, {EAGAIN, "EAGAIN"},
    {EFAULT, "EFAULT"}, {EEXIST, "EEXIST"}, {EINVAL, "EINVAL"}, {EMFILE, "EMFILE"}, {EPIPE, "EPIPE"},
    {ELOOP, "ELOOP"}, {ENOTSOCK, "ENOTSOCK"}, {EOPNOTSUPP, "EOPNOTSUPP"}, {EADDRINUSE, "EADDRINUSE"},
    {ECONNABORTED, "ECONNABORTED"}, {ECONNRESET, "ECONNRESET"}, {EISCONN, "EISCONN"},
    {ENOTCONN, "ENOTCONN"}, {ECONNREFUSED, "ECONNREFUSED"}, {EALREADY, "EALREADY"},
    {EINPROGRESS, "EINPROGRESS"},
};

static void error(void) {
    for (size_t place = 0; place < sizeof ERRORS / sizeof *ERRORS; place++)
        if (ERRORS[place].number == errno) {
            put("[\"error\",\"%s\"]", ERRORS[place].name);
            return;
        }
    put("[\"error\",\"%d\"]", errno);
}

static void done(int status) {
    if (status < 0)
        error();
    else
        put("[\"done\"]");
}

static void opened(int made) {
    if (made < 0)
        error();
    else
        put("[\"opened\",%d]", made - BASE);
}

static void opened_two(int status, const int *made) {
    if (status < 0)
        error();
    else
        put("[\"opened\",%d,%d]", made[0] - BASE, made[1] - BASE);
}

/* --- calls ----------------------------------------------------------------------------------------------------- */

static long long pipe_bytes;

static int real(const Value *call, const char *name) { return BASE + (int)number(call, name); }

static unsigned char *hex(const Value *text, size_t scale, size_t *size) {
    size_t units = (text->end - text->text) / 2;
    unsigned char *bytes = malloc(units * scale + 1);
    if (!bytes)
        fail("no memory");
    for (size_t unit = 0; unit < units; unit++) {
        unsigned byte = 0;
        sscanf(text->text + 2 * unit, "%2x", &byte);
        memset(bytes + unit * scale, (int)byte, scale);
    }
    *size = units * scale;
    return bytes;
}

static void make_pipe(const Value *call) {
    int ends[2], status = pipe2(ends, yes(call, "nonblocking") ? O_NONBLOCK : 0);
    if (status == 0 && fcntl(ends[0], F_SETPIPE_SZ, (int)pipe_bytes) < 0)
        fail("F_SETPIPE_SZ: %s", strerror(errno));
    opened_two(status, ends);
}

static void make_file(const Value *call) {
    size_t size;
    unsigned char *data = hex(member(call, "data"), 1, &size);
    int made = memfd_create("loopspec", 0);
    if (made >= 0 && (write(made, data, size) != (ssize_t)size || lseek(made, 0, SEEK_SET) != 0 ||
                      (yes(call, "nonblocking") && fcntl(made, F_SETFL, O_NONBLOCK) < 0)))
        fail("a regular file: %s", strerror(errno));
    opened(made);
}

static void make_eventfd(const Value *call) {
    int made = eventfd((unsigned)number(call, "count"), yes(call, "nonblocking") ? EFD_NONBLOCK : 0);
    opened(made);
}

static void do_read(const Value *call) {
    size_t scale = (size_t)number(call, "unit"), size = (size_t)number(call, "size") * scale;
    unsigned char *data = malloc(size + 1);
    ssize_t got = data ? read(real(call, "fd"), data, size) : -1;
    if (got < 0) {
        error();
        return;
    }
    put("[\"data\",\"");
    for (ssize_t place = 0; place < got; place += (ssize_t)scale) {
        for (size_t byte = 1; byte < scale; byte++)
            if (place + (ssize_t)byte >= got || data[place + (ssize_t)byte] != data[place])
                put("?"); /* a unit that has been split */
        put("%02x", data[place]);
    }
    put("\"]");
}

static void do_write(const Value *call) {
    size_t scale = (size_t)number(call, "unit"), size;
    unsigned char *data = hex(member(call, "data"), scale, &size);
    ssize_t taken = write(real(call, "fd"), data, size);
    if (taken < 0)
        error();
    else if (taken % (ssize_t)scale)
        put("[\"count\",\"%zd bytes\"]", taken);
    else
        put("[\"count\",%zd]", taken / (ssize_t)scale);
}

static void do_control(const Value *call) {
    struct epoll_event event = {.events = (uint32_t)number(call, "mask")};
    int op = named(call, "op", "ADD") ? EPOLL_CTL_ADD : named(call, "op", "MOD") ? EPOLL_CTL_MOD : EPOLL_CTL_DEL;
    void *pointer = yes(call, "readable") ? (void *)&event : (void *)8;
    event.data.u64 = (uint64_t)number(call, "data");
    done((int)syscall(SYS_epoll_ctl, real(call, "epfd"), op, real(call, "fd"), pointer));
}

static void do_wait(const Value *call) {
    struct epoll_event events[64];
    int most = (int)number(call, "maxevents");
    int count = epoll_wait(real(call, "epfd"), events, most > 64 ? 64 : most, 0);
    if (count < 0) {
        error();
        return;
    }
    put("[\"events\"");
    for (int place = 0; place < count; place++)
        put(",[%llu,%u]", (unsigned long long)events[place].data.u64, events[place].events);
    put("]");
}

/* Time is the vector's: a timer that is armed never expires by itself, and those that a step names do so now. */
static int arm(int fd, time_t seconds, long nanoseconds) {
    struct itimerspec when = {.it_value = {seconds, nanoseconds}};
    return timerfd_settime(fd, 0, &when, NULL);
}

static void do_advance(const Value *call) {
    for (const Value *one = member(call, "expire")->first; one; one = one->next) {
        struct pollfd timer = {.fd = BASE + (int)one->number, .events = POLLIN};
        if (arm(timer.fd, 0, 1) < 0 || poll(&timer, 1, -1) != 1)
            fail("a timer does not expire: %s", strerror(errno));
    }
    put("[\"done\"]");
}

static void do_shutdown(const Value *call) {
    int how = named(call, "how", "RD") ? SHUT_RD : named(call, "how", "WR") ? SHUT_WR : SHUT_RDWR;
    done(shutdown(real(call, "fd"), how));
}

static void do_flag(const Value *call) {
    int fd = real(call, "fd"), flags = fcntl(fd, F_GETFL);
    done(flags < 0 ? flags : fcntl(fd, F_SETFL, yes(call, "nonblocking") ? flags | O_NONBLOCK : flags & ~O_NONBLOCK));
}

static void do_get_error(const Value *call) {
    int taken = 0;
    socklen_t size = sizeof taken;
    if (getsockopt(real(call, "fd"), SOL_SOCKET, SO_ERROR, &taken, &size) < 0)
        error();
    else
        put("[\"count\",%d]", taken);
}

static void do_pair(const Value *call) {
    int ends[2];
    int status = socketpair(AF_UNIX, SOCK_STREAM | (yes(call, "nonblocking") ? SOCK_NONBLOCK : 0), 0, ends);
    opened_two(status, ends);
}

static void do_timerfd(const Value *call) {
    opened(timerfd_create(CLOCK_MONOTONIC, yes(call, "nonblocking") ? TFD_NONBLOCK : 0));
}

static void do_epoll(const Value *call) {
    (void)call;
    opened(epoll_create1(0));
}

static void do_close(const Value *call) { done(close(real(call, "fd"))); }
static void do_dup(const Value *call) { opened(dup(real(call, "fd"))); }
static void do_settime(const Value *call) { done(arm(real(call, "fd"), number(call, "after") ? 1000000 : 0, 0)); }

static const struct { const char *name; void (*make)(const Value *); } CALLS[] = {
    {"pipe", make_pipe}, {"socketpair", do_pair}, {"eventfd", make_eventfd}, {"timerfd", do_timerfd},
    {"file", make_file}, {"epoll", do_epoll}, {"read", do_read}, {"write", do_write},
    {"shutdown", do_shutdown}, {"close", do_close}, {"dup", do_dup}, {"set_nonblocking", do_flag},
    {"get_error", do_get_error}, {"timerfd_settime", do_settime}, {"epoll_ctl", do_control},
    {"epoll_wait", do_wait}, {"advance", do_advance},
};

static void make(const Value *call) {
    const Value *name = member(call, "name");
    result[0] = 0;
    for (size_t place = 0; place < sizeof CALLS / sizeof *CALLS; place++)
        if (is(name->text, name->end, CALLS[place].name)) {
            CALLS[place].make(call);
            return;
        }
    fail("no call is named %.*s", (int)(name->end - name->text), name->text);
}

/* --- a vector ---------------------------------------------------------------------------------------------------- */

static const Value *allowed_here(const Value *step, long long node) {
    const Value *here = member(step, "allowed")->first;
    while (here && node--)
        here = here->next;
    if (!here)
        fail("a node is missing");
    return here;
}

static void refused(const Value *vector, int place, const Value *call, const Value *allowed) {
    const Value *name = member(vector, "name");
    printf("%.*s, step %d\n  call      %.*s\n  observed  %s\n", (int)(name->end - name->text), name->text, place,
           (int)(call->end - call->text), call->text, result);
    for (const Value *one = allowed->first; one; one = one->next) {
        const Value *right = member(one, "result"), *ids = member(one, "clauses");
        printf("  allowed   %.*s by %.*s\n", (int)(right->end - right->text), right->text,
               (int)(ids->end - ids->text), ids->text);
    }
}

/* Whether every result was allowed. */
static int play(const Value *vector) {
    long long node = 0;
    int place = 0;
    for (const Value *step = member(vector, "steps")->first; step; step = step->next, place++) {
        const Value *call = member(step, "call"), *allowed = allowed_here(step, node), *one = allowed->first;
        make(call);
        while (one && !is(member(one, "result")->text, member(one, "result")->end, result))
            one = one->next;
        if (!one) {
            refused(vector, place, call, allowed);
            return 0;
        }
        node = number(one, "next");
    }
    return 1;
}

static int play_apart(const Value *vector, long long numbers) {
    int status;
    pid_t child = fork();
    if (child == 0) {
        struct rlimit limit;
        getrlimit(RLIMIT_NOFILE, &limit);
        for (int fd = BASE; fd < (int)(limit.rlim_cur < 65536 ? limit.rlim_cur : 65536); fd++)
            close(fd);
        limit.rlim_cur = (rlim_t)(BASE + numbers);
        signal(SIGPIPE, SIG_IGN);
        if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
            fail("setrlimit: %s", strerror(errno));
        exit(play(vector) ? 0 : 1);
    }
    if (child < 0 || waitpid(child, &status, 0) < 0)
        fail("fork: %s", strerror(errno));
    if (!WIFEXITED(status) || WEXITSTATUS(status) == 2)
        fail("a vector could not be played to its end");
    return WEXITSTATUS(status) == 0;
}

static const char *whole(const char *path) {
    FILE *file = fopen(path, "rb");
    long size;
    char *text;
    if (!file || fseek(file, 0, SEEK_END) < 0 || (size = ftell(file)) < 0)
        fail("%s: %s", path, strerror(errno));
    rewind(file);
    text = malloc((size_t)size + 1);
    if (!text || fread(text, 1, (size_t)size, file) != (size_t)size)
        fail("%s cannot be read", path);
    fclose(file);
    text[size] = 0;
    stop = text + size;
    return text;
}

int main(int count, char **words) {
    int played = 0, kept = 0, steps = 0;
    if (count != 2)
        fail("usage: run_kernel kernel.json");
    at = whole(words[1]);
    const Value *file = value();
    if (file->kind != OBJECT || number(file, "loopspec-kernel-vectors") != 1)
        fail("%s holds no kernel vectors of format 1", words[1]);
    pipe_bytes = number(member(file, "pipe"), "unit") * number(member(file, "pipe"), "capacity");
    for (const Value *one = member(file, "vectors")->first; one; one = one->next, played++) {
        fflush(stdout);
        kept += play_apart(one, number(file, "numbers"));
        for (const Value *step = member(one, "steps")->first; step; step = step->next)
            steps++;
    }
    printf("%d of %d vectors kept, %d calls\n", kept, played, steps);
    return kept == played ? 0 : 1;
}
