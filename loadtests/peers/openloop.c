/* Open-loop load: requests leave on a fixed schedule whatever the answers do, and each is timed from when it *should*
 * have left, so that a stall is charged to every request it held up (no coordinated omission).
 *
 *     openloop PORT RATE SECONDS CONNECTIONS REQUEST_FILE [GRACE=5]
 *
 * prints: due answered p50_us p99_us p999_us max_us refused
 *
 * Each connection carries one request at a time; a request whose turn comes while all are busy waits, and its wait counts.
 * Between them it sleeps: one that spins shares its core with the models, and what it delays is charged to the proxy.
 * What has no answer GRACE seconds after the last request was due is timed up to then. An answer other than 200 and a
 * connection that is closed under its request count as refused, and not among the times.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BUFFER 65536
struct connection { int fd, length, busy; double due; char buffer[BUFFER + 1]; };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}
static int dial(int epoll, struct connection *all, int i, int port) {
    struct sockaddr_in where = {AF_INET, htons(port), {htonl(INADDR_LOOPBACK)}, {0}};
    struct epoll_event event = {EPOLLIN, {.u32 = i}};
    int on = 1;
    all[i].fd = socket(AF_INET, SOCK_STREAM, 0);
    all[i].length = all[i].busy = 0;
    if (connect(all[i].fd, (void *)&where, sizeof where)) return -1;
    setsockopt(all[i].fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return epoll_ctl(epoll, EPOLL_CTL_ADD, all[i].fd, &event);
}
static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    if (argc < 6) return 2;
    prctl(PR_SET_TIMERSLACK, 1UL); /* wakes up when a request is due, not 50 us later */
    int port = atoi(argv[1]), connections = atoi(argv[4]);
    double rate = atof(argv[2]), seconds = atof(argv[3]);
    static char request[BUFFER];
    FILE *file = fopen(argv[5], "rb");
    int size = fread(request, 1, sizeof request, file);
    long total = rate * seconds, sent = 0, answered = 0, refused = 0;
    double *took = calloc(total + 1, sizeof *took);
    struct connection *all = calloc(connections, sizeof *all);
    int *idle = calloc(connections, sizeof *idle), idle_count = 0, epoll = epoll_create1(0);
    for (int i = 0; i < connections; i++) {
        if (dial(epoll, all, i, port)) return 1;
        idle[idle_count++] = i;
    }
    double start = now() + 0.05, stop = start + seconds + (argc > 6 ? atof(argv[6]) : 5);
    while (answered + refused < total && now() < stop) {
        double t = now();
        while (sent < total && start + sent / rate <= t && idle_count) {
            struct connection *c = &all[idle[--idle_count]];
            c->due = start + sent++ / rate;
            c->busy = 1;
            if (send(c->fd, request, size, MSG_NOSIGNAL) != size) shutdown(c->fd, SHUT_RDWR); /* read below: refused */
        }
        double wait = sent < total && idle_count ? start + sent / rate - now() : 0.01;
        struct timespec until = {0, wait < 0 ? 0 : wait < 0.5 ? wait * 1e9 : 5e8};
        struct epoll_event events[64];
        int count = epoll_pwait2(epoll, events, 64, &until, NULL);
        for (int i = 0; i < count; i++) {
            struct connection *c = &all[events[i].data.u32];
            int n = read(c->fd, c->buffer + c->length, BUFFER - c->length);
            if (n <= 0) {
                close(c->fd);
                if (c->busy) {
                    refused++;
                    idle[idle_count++] = events[i].data.u32;
                }
                if (dial(epoll, all, events[i].data.u32, port)) return 1;
                continue;
            }
            c->length += n;
            c->buffer[c->length] = 0;
            char *blank = strstr(c->buffer, "\r\n\r\n"), *length = strcasestr(c->buffer, "\r\ncontent-length:");
            if (!blank || !length || c->length < blank + 4 - c->buffer + atoi(length + 17)) continue;
            if (memcmp(c->buffer, "HTTP/1.1 200", 12)) refused++;
            else took[answered++] = now() - c->due;
            c->length = c->busy = 0;
            idle[idle_count++] = c - all;
        }
    }
    long count = answered;
    for (int i = 0; i < connections; i++)
        if (all[i].busy) took[count++] = now() - all[i].due;
    for (long k = sent; k < total; k++) took[count++] = now() - (start + k / rate);
    qsort(took, count, sizeof *took, by_value);
    if (!count) took[count++] = 0;
    printf("%ld %ld %.0f %.0f %.0f %.0f %ld\n", total, answered, took[count / 2] * 1e6, took[count * 99 / 100] * 1e6,
           took[count * 999 / 1000] * 1e6, took[count - 1] * 1e6, refused);
    return 0;
}
