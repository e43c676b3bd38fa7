/* Streams of server-sent events from `streams.c`: how long after it was sent each event arrives.
 *
 *     events PORT STREAMS SECONDS REQUEST_FILE
 *
 * prints: events p50_us p99_us max_us
 *
 * Each connection asks again when its stream has ended. Both ends have the same clock, and what the kernel and the proxy
 * do between them counts, as does the time that an event waits for this program to run.
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
#define MOST 10000000
static const char ID[] = "data: {\"id\":\"", END[] = "\r\n0\r\n\r\n";
struct connection { int fd, length; char buffer[BUFFER + 1]; };

static long long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}
static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}
static int dial(struct connection *c, int port) {
    struct sockaddr_in where = {AF_INET, htons(port), {htonl(INADDR_LOOPBACK)}, {0}};
    int on = 1;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    c->length = 0;
    if (connect(c->fd, (void *)&where, sizeof where)) return -1;
    return setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

int main(int argc, char **argv) {
    if (argc < 5) return 2;
    int port = atoi(argv[1]), streams = atoi(argv[2]), epoll = epoll_create1(0);
    static char request[BUFFER];
    FILE *file = fopen(argv[4], "rb");
    if (!file) return 2;
    int size = fread(request, 1, sizeof request, file);
    struct connection *all = calloc(streams, sizeof *all);
    double *took = malloc(MOST * sizeof *took);
    long seen = 0;
    for (int i = 0; i < streams; i++) {
        struct epoll_event event = {EPOLLIN, {.ptr = &all[i]}};
        if (dial(&all[i], port) || epoll_ctl(epoll, EPOLL_CTL_ADD, all[i].fd, &event)) return 1;
        if (send(all[i].fd, request, size, MSG_NOSIGNAL) != size) return 1;
    }
    long long stop = now() + atof(argv[3]) * 1e9;
    while (now() < stop && seen < MOST - BUFFER) {
        struct epoll_event events[64];
        int count = epoll_wait(epoll, events, 64, 100);
        for (int i = 0; i < count; i++) {
            struct connection *c = events[i].data.ptr;
            int n = read(c->fd, c->buffer + c->length, BUFFER - c->length);
            if (n <= 0) return 1;
            long long at = now();
            c->length += n;
            c->buffer[c->length] = 0;
            char *rest = c->buffer, *found, *end;
            while ((found = strstr(rest, ID)) && (end = strstr(found, "\n\n"))) {
                took[seen++] = (at - atoll(found + sizeof ID - 1)) / 1e3;
                rest = end;
            }
            end = strstr(rest, END);
            if (end && send(c->fd, request, size, MSG_NOSIGNAL) != size) return 1;
            c->length = end ? 0 : c->buffer + c->length - rest;
            memmove(c->buffer, rest, c->length);
        }
    }
    if (!seen) return 1;
    qsort(took, seen, sizeof *took, by_value);
    printf("%ld %.0f %.0f %.0f\n", seen, took[seen / 2], took[seen * 99 / 100], took[seen - 1]);
    return 0;
}
