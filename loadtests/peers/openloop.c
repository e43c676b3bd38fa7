/* Open-loop load: requests leave on a fixed schedule whatever the answers do, and each is timed from when it *should*
 * have left, so that a stall is charged to every request it held up (no coordinated omission).
 *
 *     openloop PORT RATE SECONDS CONNECTIONS REQUEST_FILE     prints: sent answered p50_us p99_us p999_us max_us
 *
 * Each connection carries one request at a time; a request whose turn comes while all are busy waits, and its wait counts.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
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
static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    if (argc < 6) return 2;
    int port = atoi(argv[1]), connections = atoi(argv[4]), on = 1;
    double rate = atof(argv[2]), seconds = atof(argv[3]);
    static char request[BUFFER];
    FILE *file = fopen(argv[5], "rb");
    int size = fread(request, 1, sizeof request, file);
    long total = rate * seconds, sent = 0, answered = 0;
    double *took = calloc(total + 1, sizeof *took);
    struct connection *all = calloc(connections, sizeof *all);
    int *idle = calloc(connections, sizeof *idle), idle_count = 0, epoll = epoll_create1(0);
    struct sockaddr_in where = {AF_INET, htons(port), {htonl(INADDR_LOOPBACK)}, {0}};
    for (int i = 0; i < connections; i++) {
        all[i].fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(all[i].fd, (void *)&where, sizeof where)) return 1;
        setsockopt(all[i].fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct epoll_event event = {EPOLLIN, {.u32 = i}};
        epoll_ctl(epoll, EPOLL_CTL_ADD, all[i].fd, &event);
        idle[idle_count++] = i;
    }
    double start = now() + 0.05, stop = start + seconds + 5;
    while (answered < total && now() < stop) {
        double t = now();
        while (sent < total && start + sent / rate <= t && idle_count) {
            struct connection *c = &all[idle[--idle_count]];
            c->due = start + sent++ / rate;
            c->busy = 1;
            if (write(c->fd, request, size) != size) return 1;
        }
        double wait = sent < total && idle_count ? (start + sent / rate - now()) * 1e3 : 10;
        struct epoll_event events[64];
        int count = epoll_wait(epoll, events, 64, wait < 0 ? 0 : (int)wait);
        for (int i = 0; i < count; i++) {
            struct connection *c = &all[events[i].data.u32];
            int n = read(c->fd, c->buffer + c->length, BUFFER - c->length);
            if (n <= 0) return 1;
            c->length += n;
            c->buffer[c->length] = 0;
            char *blank = strstr(c->buffer, "\r\n\r\n"), *length = strcasestr(c->buffer, "\r\ncontent-length:");
            if (!blank || !length || c->length < blank + 4 - c->buffer + atoi(length + 17)) continue;
            took[answered++] = now() - c->due;
            c->length = c->busy = 0;
            idle[idle_count++] = c - all;
        }
    }
    qsort(took, answered, sizeof *took, by_value);
    if (!answered) return 1;
    printf("%ld %ld %.0f %.0f %.0f %.0f\n", sent, answered, took[answered / 2] * 1e6, took[answered * 99 / 100] * 1e6,
           took[answered * 999 / 1000] * 1e6, took[answered - 1] * 1e6);
    return 0;
}
