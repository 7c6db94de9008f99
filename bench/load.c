/* The load: clients that ping-pong, each sending a message and waiting for its echo before it sends the next.
 *
 * One thread, one epoll set, no allocation once it runs, so that what is measured is the server: it says how
 * much of the time it was busy itself, and a run in which it was busier than the server is no measurement of
 * the server's speed (its CPU time a request stays good). It also reads the server's CPU clock, since only
 * the client knows between which two instants the counted requests fell.
 *
 * load PORT PID ACTIVE IDLE SIZE WARMUP_MS MEASURE_MS REQUESTS
 *
 * Every connection, idle ones included, makes one round trip first: so the server has accepted and served it.
 * Then ACTIVE connections ping-pong with SIZE bytes, WARMUP_MS uncounted and MEASURE_MS counted; or, if
 * REQUESTS is not 0, until just so many have been answered. One line of JSON is the result; times are in ns.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 256, SAMPLES = 1 << 22 };

struct client {
    int fd;
    int missing; /* bytes of the echo that have not come yet */
    uint64_t sent_at;
};

static char message[1 << 20], sink[1 << 20];
static uint32_t samples[SAMPLES];

static void die(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(2);
}

static uint64_t now(clockid_t clock) {
    struct timespec t;
    if (clock_gettime(clock, &t)) die("clock_gettime");
    return (uint64_t)t.tv_sec * 1000000000u + t.tv_nsec;
}

static long resident(pid_t pid) {
    char path[64];
    long size, pages;
    snprintf(path, sizeof path, "/proc/%d/statm", pid);
    FILE *file = fopen(path, "r");
    if (!file || fscanf(file, "%ld %ld", &size, &pages) != 2) die(path);
    fclose(file);
    return pages * sysconf(_SC_PAGESIZE);
}

static int open_connection(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct linger at_once = {1, 0}; /* ten thousand sockets in TIME_WAIT would leave no ports for the next run */
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0) die("socket");
    if (connect(fd, (struct sockaddr *)&address, sizeof address)) die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    return fd;
}

static void ask(struct client *client, int size) {
    client->missing = size;
    client->sent_at = now(CLOCK_MONOTONIC);
    if (send(client->fd, message, size, MSG_NOSIGNAL) != size) die("send");
}

/* Whether the whole echo has come. */
static int answered(struct client *client) {
    ssize_t got = recv(client->fd, sink, client->missing, 0);
    if (got == 0) { errno = ECONNRESET; die("the server closed a connection"); }
    if (got < 0) die("recv");
    client->missing -= got;
    return client->missing == 0;
}

static int ascending(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    if (argc != 9) { fprintf(stderr, "usage: load PORT PID ACTIVE IDLE SIZE WARMUP_MS MEASURE_MS REQUESTS\n"); return 2; }
    int port = atoi(argv[1]), active = atoi(argv[3]), idle = atoi(argv[4]), size = atoi(argv[5]);
    pid_t pid = atoi(argv[2]);
    uint64_t warmup = strtoull(argv[6], 0, 10) * 1000000, measure = strtoull(argv[7], 0, 10) * 1000000;
    long limit = atol(argv[8]);
    int total = active + idle;
    struct rlimit files;
    clockid_t server;
    if (size < 1 || size > (int)sizeof message || total < 1) { fprintf(stderr, "load: nothing to send\n"); return 2; }
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (clock_getcpuclockid(pid, &server)) die("clock_getcpuclockid");

    long before = resident(pid);
    struct client *clients = calloc(total, sizeof *clients);
    for (int i = 0; i < total; i += BATCH) { /* together, or the two processes would take turns for each */
        int end = i + BATCH < total ? i + BATCH : total;
        for (int j = i; j < end; j++) {
            clients[j].fd = open_connection(port);
            ask(&clients[j], size);
        }
        for (int j = i; j < end; j++) {
            while (!answered(&clients[j])) {}
        }
    }
    long after = resident(pid);

    int epoll = epoll_create1(0);
    for (int i = 0; i < active; i++) {
        struct epoll_event interest = {.events = EPOLLIN, .data.ptr = &clients[i]};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, clients[i].fd, &interest)) die("epoll_ctl");
    }

    uint64_t began = now(CLOCK_MONOTONIC), ended = 0, cpu = 0, own = 0;
    long replies = 0, asked = 0, count = 0;
    int counting = limit > 0;
    if (counting) { cpu = now(server); own = now(CLOCK_PROCESS_CPUTIME_ID); }
    for (int i = 0; i < active && (!limit || asked < limit); i++, asked++) ask(&clients[i], size);
    while (active && !ended) {
        struct epoll_event events[BATCH];
        int ready = epoll_wait(epoll, events, BATCH, 10000);
        if (ready < 0 && errno != EINTR) die("epoll_wait");
        if (ready == 0) { errno = ETIMEDOUT; die("no answer for ten seconds"); }
        for (int i = 0; i < ready; i++) {
            struct client *client = events[i].data.ptr;
            if (!answered(client)) continue;
            replies++;
            if (counting && count < SAMPLES) samples[count++] = now(CLOCK_MONOTONIC) - client->sent_at;
            if (limit && asked >= limit) continue;
            asked++;
            ask(client, size);
        }
        uint64_t t = now(CLOCK_MONOTONIC);
        if (limit) {
            if (replies >= limit) ended = t;
        } else if (!counting && t - began >= warmup) {
            counting = 1, replies = 0, began = t;
            cpu = now(server), own = now(CLOCK_PROCESS_CPUTIME_ID);
        } else if (counting && t - began >= measure) {
            ended = t;
        }
    }
    if (active) { cpu = now(server) - cpu; own = now(CLOCK_PROCESS_CPUTIME_ID) - own; }
    qsort(samples, count, sizeof *samples, ascending);
    printf("{\"requests\": %ld, \"wall\": %lu, \"server_cpu\": %lu, \"load_cpu\": %lu, \"resident_before\": %ld, "
           "\"resident_after\": %ld, \"median\": %u, \"p99\": %u, \"worst\": %u}\n",
           replies, active ? ended - began : 0, cpu, own, before, after, count ? samples[count / 2] : 0,
           count ? samples[count * 99 / 100] : 0, count ? samples[count - 1] : 0);
    return 0;
}
