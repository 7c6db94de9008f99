/* Plays the kernel vectors of loopspec on the kernel at hand: one file, no dependency but libc and Linux.
 *
 *     cc -O2 -pthread -o run_kernel run_kernel.c && ./run_kernel kernel.json
 *
 * Exit status 0: every result was among those allowed; 1: some was not, and is told; 2: the file cannot be read.
 *
 * Each vector is played by a process of its own, in which model number n is descriptor BASE + n: the standard three
 * stay, all others are closed, and the limit on descriptors makes room for as many as the model has. The file is
 * read, and parsed, before that. What the runner needs itself lies above that limit. The algorithm is the one at
 * the end of README.md.
 *
 * Whether a thread is suspended in its call is for the kernel to say: /proc/self/task/TID/syscall names the call
 * that a sleeping thread is in, with its first argument. It goes on to name it while one that has been woken on
 * another processor has not arrived there, and so /proc/self/task/TID/stat has to say that it sleeps as well.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
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
    } else if (stop - at >= 4 && !strncmp(at, "null", 4)) {
        made->kind = NOTHING;
        at += 4;
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

static __thread char result[RESULT];

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
    int most = (int)number(call, "maxevents"), timeout = yes(call, "forever") ? -1 : 0;
    int count = epoll_wait(real(call, "epfd"), events, most > 64 ? 64 : most, timeout);
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

static int worker_returned(void);

/* The expiry shows in the timer, or in one who waited for it and has taken it. */
static void do_advance(const Value *call) {
    int waited = !worker_returned();
    for (const Value *one = member(call, "expire")->first; one; one = one->next) {
        struct pollfd timer = {.fd = BASE + (int)one->number, .events = POLLIN};
        if (arm(timer.fd, 0, 1) < 0)
            fail("a timer does not expire: %s", strerror(errno));
        while (poll(&timer, 1, 0) != 1 && !(waited && worker_returned()))
            sched_yield();
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

/* --- the network: port 1 of a vector is any of the loopback's, and at port NOBODY nobody listens */

enum { PORTS = 16, NOBODY = 7 };

static in_port_t ports[PORTS];

static struct sockaddr_in loopback(in_port_t port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = port};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static in_port_t port_of(int fd) {
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &size) < 0)
        fail("getsockname: %s", strerror(errno));
    return address.sin_port;
}

static int port(const Value *call) {
    long long named_port = number(call, "port");
    if (named_port < 0 || named_port >= PORTS)
        fail("no port is numbered %lld", named_port);
    return (int)named_port;
}

static void do_socket(const Value *call) {
    opened(socket(AF_INET, SOCK_STREAM | (yes(call, "nonblocking") ? SOCK_NONBLOCK : 0), 0));
}

static void do_listen(const Value *call) {
    struct sockaddr_in address = loopback(ports[port(call)]); /* the same one again, if it is listened at again */
    int fd = real(call, "fd"), status, again = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &again, sizeof again);
    status = bind(fd, (struct sockaddr *)&address, sizeof address);
    if (status == 0)
        status = listen(fd, (int)number(call, "backlog"));
    done(status);
    if (status == 0)
        ports[port(call)] = port_of(fd);
}

static void do_connect(const Value *call) {
    struct sockaddr_in address = loopback(ports[port(call)]);
    done(connect(real(call, "fd"), (struct sockaddr *)&address, sizeof address));
}

static void do_accept(const Value *call) {
    opened(accept4(real(call, "fd"), NULL, NULL, yes(call, "nonblocking") ? SOCK_NONBLOCK : 0));
}

static void do_abort(const Value *call) {
    struct linger at_once = {1, 0};
    setsockopt(real(call, "fd"), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    done(close(real(call, "fd")));
}

static void do_close(const Value *call) { done(close(real(call, "fd"))); }
static void do_dup(const Value *call) { opened(dup(real(call, "fd"))); }
static void do_settime(const Value *call) { done(arm(real(call, "fd"), number(call, "after") ? 1000000 : 0, 0)); }

static const struct { const char *name; void (*make)(const Value *); } CALLS[] = {
    {"pipe", make_pipe}, {"socketpair", do_pair}, {"eventfd", make_eventfd}, {"timerfd", do_timerfd},
    {"file", make_file}, {"epoll", do_epoll}, {"read", do_read}, {"write", do_write},
    {"shutdown", do_shutdown}, {"close", do_close}, {"dup", do_dup}, {"set_nonblocking", do_flag},
    {"get_error", do_get_error}, {"timerfd_settime", do_settime}, {"epoll_ctl", do_control},
    {"epoll_wait", do_wait}, {"advance", do_advance}, {"socket", do_socket}, {"listen", do_listen},
    {"connect", do_connect}, {"accept", do_accept}, {"abort", do_abort},
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

/* --- who makes a call --------------------------------------------------------------------------------------------
 *
 * The thread that reads the vector is actor 0 and is never suspended, the worker is actor 1, and a child that is
 * forked is actor 2. One acts at a time; after each call all wait until the network has carried what was sent and
 * the worker has returned or sleeps in its call. */

enum { PLAYER, WORKER, CHILD };

static int above; /* the first descriptor beyond the limit */

static int moved(int fd) {
    int made = fd < 0 ? -1 : fcntl(fd, F_DUPFD, above);
    if (made < 0)
        fail("a descriptor for the runner: %s", strerror(errno));
    close(fd);
    return made;
}

static struct {
    sem_t begin;
    const Value *call;
    volatile int returned; /* its last call has: what it came to is in text */
    char text[RESULT];
    int call_of, state_of; /* /proc/self/task/TID/syscall, and stat */
    volatile int number;
} worker = {.returned = 1};

static int worker_returned(void) { return __atomic_load_n(&worker.returned, __ATOMIC_ACQUIRE); }

static void *work(void *unused) {
    (void)unused;
    worker.number = (int)syscall(SYS_gettid);
    for (;;) {
        while (sem_wait(&worker.begin) < 0)
            ;
        make(worker.call);
        memcpy(worker.text, result, RESULT);
        __atomic_store_n(&worker.returned, 1, __ATOMIC_RELEASE);
    }
    return NULL;
}

static int account(const char *name) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/%s", worker.number, name);
    return moved(open(path, O_RDONLY));
}

static void hire(void) {
    pthread_t thread;
    if (sem_init(&worker.begin, 0, 0) < 0 || pthread_create(&thread, NULL, work, NULL) != 0)
        fail("a thread: %s", strerror(errno));
    while (!worker.number)
        sched_yield();
    worker.call_of = account("syscall");
    worker.state_of = account("stat");
}

static const char *told(int account, char *line, size_t room) {
    ssize_t size = pread(account, line, room - 1, 0);
    if (size < 0)
        fail("the kernel does not tell what a thread sleeps in: %s", strerror(errno));
    line[size] = 0;
    return line;
}

/* Whether the kernel has the worker asleep in its call, known by the descriptor that is its first argument. */
static int worker_asleep(void) {
    char line[1024];
    long long call_number, argument;
    if (sscanf(told(worker.call_of, line, sizeof line), "%lld %llx", &call_number,
               (unsigned long long *)&argument) != 2 || call_number < 0)
        return 0;
    if (argument != BASE + number(worker.call, named(worker.call, "name", "epoll_wait") ? "epfd" : "fd"))
        return 0;
    return strstr(told(worker.state_of, line, sizeof line), ") S ") != NULL;
}

static void settle(void) {
    while (!worker_returned() && !worker_asleep())
        sched_yield();
}

static struct {
    int commands, results; /* pipes */
    pid_t number;
} child = {.number = 0};

static void serve(int commands, int results) {
    const Value *call;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (read(commands, &call, sizeof call) == sizeof call) {
        make(call);
        if (write(results, result, RESULT) != RESULT)
            break;
    }
    _exit(0);
}

static void do_fork(void) {
    int commands[2], results[2];
    struct rlimit limit, wide;
    getrlimit(RLIMIT_NOFILE, &limit);
    wide = limit;
    wide.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &wide) < 0 || pipe(commands) < 0 || pipe(results) < 0)
        fail("pipes to a child: %s", strerror(errno));
    for (int end = 0; end < 2; end++) {
        commands[end] = moved(commands[end]);
        results[end] = moved(results[end]);
    }
    setrlimit(RLIMIT_NOFILE, &limit);
    fflush(stdout);
    child.number = fork();
    if (child.number == 0) {
        close(commands[1]);
        close(results[0]);
        serve(commands[0], results[1]);
    }
    if (child.number < 0)
        fail("fork: %s", strerror(errno));
    close(commands[0]);
    close(results[1]);
    child.commands = commands[1];
    child.results = results[0];
    put("[\"count\",1]");
}

static void do_exit(void) {
    close(child.commands);
    close(child.results);
    if (waitpid(child.number, NULL, 0) < 0)
        fail("waitpid: %s", strerror(errno));
    child.number = 0;
    put("[\"done\"]");
}

static void make_in_child(const Value *call) {
    if (write(child.commands, &call, sizeof call) != sizeof call ||
        read(child.results, result, RESULT) != RESULT)
        fail("a child does not answer: %s", strerror(errno));
}

/* A packet is through once a datagram that was sent after it is back; so are the answers to it, the next time. */
static int echo;

static void carry(void) {
    char byte = '?';
    for (int round = 0; round < 4; round++) {
        if (send(echo, &byte, 1, 0) != 1)
            fail("the loopback: %s", strerror(errno));
        while (recv(echo, &byte, 1, MSG_DONTWAIT) != 1)
            sched_yield();
    }
}

static void prepare_network(void) {
    struct sockaddr_in address = loopback(0);
    int closed = moved(socket(AF_INET, SOCK_STREAM, 0));
    echo = moved(socket(AF_INET, SOCK_DGRAM, 0));
    if (bind(closed, (struct sockaddr *)&address, sizeof address) < 0 ||
        bind(echo, (struct sockaddr *)&address, sizeof address) < 0)
        fail("the loopback: %s", strerror(errno));
    ports[NOBODY] = port_of(closed);
    address.sin_port = port_of(echo);
    if (connect(echo, (struct sockaddr *)&address, sizeof address) < 0)
        fail("the loopback: %s", strerror(errno));
}

/* Make a call and let all come to rest. What it came to is in result, what the worker's came to in woken. */
static char woken[RESULT];

static void act(const Value *call) {
    long long by = number(call, "by");
    int waited = !worker_returned();
    result[0] = 0;
    strcpy(woken, "null");
    if (by == WORKER) {
        worker.call = call;
        __atomic_store_n(&worker.returned, 0, __ATOMIC_RELEASE);
        sem_post(&worker.begin);
    } else if (by == CHILD && !named(call, "name", "exit"))
        make_in_child(call);
    else if (named(call, "name", "fork"))
        do_fork();
    else if (named(call, "name", "exit"))
        do_exit();
    else
        make(call);
    settle();
    carry();
    settle();
    if (by == WORKER)
        strcpy(result, worker_returned() ? worker.text : "[\"suspended\"]");
    else if (waited && worker_returned())
        strcpy(woken, worker.text);
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
    printf("%.*s, step %d\n  call      %.*s\n  observed  %s, woken %s\n", (int)(name->end - name->text), name->text,
           place, (int)(call->end - call->text), call->text, result, woken);
    for (const Value *one = allowed->first; one; one = one->next) {
        const Value *right = member(one, "result"), *going = member(one, "woken"), *ids = member(one, "clauses");
        printf("  allowed   %.*s, woken %.*s by %.*s\n", (int)(right->end - right->text), right->text,
               (int)(going->end - going->text), going->text, (int)(ids->end - ids->text), ids->text);
    }
}

/* Whether every result was allowed. */
static int play(const Value *vector) {
    long long node = 0;
    int place = 0;
    for (const Value *step = member(vector, "steps")->first; step; step = step->next, place++) {
        const Value *call = member(step, "call"), *allowed = allowed_here(step, node), *one = allowed->first;
        act(call);
        while (one && !(is(member(one, "result")->text, member(one, "result")->end, result) &&
                        is(member(one, "woken")->text, member(one, "woken")->end, woken)))
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
    pid_t player = fork();
    if (player == 0) {
        struct rlimit limit;
        getrlimit(RLIMIT_NOFILE, &limit);
        for (int fd = BASE; fd < (int)(limit.rlim_cur < 65536 ? limit.rlim_cur : 65536); fd++)
            close(fd);
        above = (int)(BASE + numbers);
        signal(SIGPIPE, SIG_IGN);
        prepare_network();
        hire();
        limit.rlim_cur = (rlim_t)above;
        if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
            fail("setrlimit: %s", strerror(errno));
        int kept = play(vector);
        fflush(stdout);
        if (child.number)
            kill(child.number, SIGKILL);
        _exit(kept ? 0 : 1);
    }
    if (player < 0 || waitpid(player, &status, 0) < 0)
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
    if (file->kind != OBJECT || number(file, "loopspec-kernel-vectors") != 2)
        fail("%s holds no kernel vectors of format 2", words[1]);
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
