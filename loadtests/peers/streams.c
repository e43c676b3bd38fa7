/* A language model that costs as little as possible: every POST is answered with server-sent events, one each GAP ms.
 *
 *     streams PORT EVENTS GAP_MS [one]
 *
 * One epoll loop and one timer: at each tick every stream under way gets its next event as a chunk of its own, as engines
 * send them (with `one`, the stream that has waited longest gets its own); then `data: [DONE]` and the last chunk. An
 * event tells when it was sent: `id` is in nanoseconds of the monotonic clock. Requests have a Content-Length or chunks
 * whose end is believed where a read ends with it; one that comes before the answer to the last has ended is answered
 * after it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define BUFFER 65536
static const char EVENT[] = "data: {\"id\":\"%019lld\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" token\"}}]}\n\n";
static const char HEAD[] = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

struct stream {
    int fd, length, left; /* bytes of an incomplete head; events still to send */
    int waiting;          /* requests that came before the answer to the last had ended */
    long body_left;       /* bytes of a body still to come; -1 until the last chunk */
    struct stream *next, *before; /* those under way, in a ring */
    char head[BUFFER];
};
static struct stream under_way = {.next = &under_way, .before = &under_way};
static int events_each, one_each;
static char last[64];
static int last_length;

static void leave(struct stream *s) {
    if (!s->next) return;
    s->next->before = s->before;
    s->before->next = s->next;
    s->next = s->before = NULL;
}
static void wait_last(struct stream *s) {
    s->next = &under_way;
    s->before = under_way.before;
    s->before->next = under_way.before = s;
}
static void begin(struct stream *s) {
    if (s->next) {
        s->waiting++;
        return;
    }
    if (write(s->fd, HEAD, sizeof HEAD - 1) < 0) return;
    s->left = events_each;
    wait_last(s);
}
static int readable(struct stream *s) {
    char buffer[BUFFER];
    ssize_t n = read(s->fd, buffer, sizeof buffer);
    if (n <= 0) return -1;
    char *at = buffer, *end = buffer + n;
    while (at < end) {
        if (s->body_left < 0) {
            at = end;
            if (n >= 5 && !memcmp(end - 5, "0\r\n\r\n", 5)) { s->body_left = 0; begin(s); }
            continue;
        }
        if (s->body_left > 0) {
            long take = end - at < s->body_left ? end - at : s->body_left;
            at += take;
            s->body_left -= take;
            if (!s->body_left) begin(s);
            continue;
        }
        long room = BUFFER - 1 - s->length, take = end - at < room ? end - at : room;
        memcpy(s->head + s->length, at, take);
        s->head[s->length + take] = 0;
        char *blank = strstr(s->head, "\r\n\r\n");
        if (!blank) {
            s->length += take;
            at += take;
            continue;
        }
        at += blank + 4 - s->head - s->length;
        s->length = 0;
        *blank = 0;
        char *size = strcasestr(s->head, "\r\ncontent-length:");
        s->body_left = size ? atol(size + 17) : strcasestr(s->head, "\r\ntransfer-encoding:") ? -1 : 0;
        if (!s->body_left) begin(s);
    }
    return 0;
}
static void send_next(struct stream *s) {
    char event[sizeof EVENT + 32], chunk[sizeof event + 16];
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    int length = sprintf(event, EVENT, t.tv_sec * 1000000000LL + t.tv_nsec);
    length = sprintf(chunk, "%x\r\n%s\r\n", length, event);
    const char *bytes = s->left ? chunk : last;
    if (write(s->fd, bytes, s->left ? length : last_length) < 0) s->left = 0;
    leave(s);
    if (s->left-- > 0) wait_last(s);
    else if (s->waiting) {
        s->waiting--;
        begin(s);
    }
}
static void tick(void) {
    int due = 0;
    for (struct stream *s = under_way.next; s != &under_way; s = s->next) due++;
    for (due = one_each && due ? 1 : due; due; due--) send_next(under_way.next);
}

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    signal(SIGPIPE, SIG_IGN);
    events_each = atoi(argv[2]);
    one_each = argc > 4 && !strcmp(argv[4], "one");
    last_length = sprintf(last, "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n");
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1, epoll = epoll_create1(0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in where = {AF_INET, htons(atoi(argv[1])), {htonl(INADDR_LOOPBACK)}, {0}};
    if (bind(listener, (void *)&where, sizeof where) || listen(listener, 4096)) return 1;
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    long gap = atol(argv[3]) * 1000000L;
    struct itimerspec every = {{0, gap}, {0, gap}};
    timerfd_settime(timer, 0, &every, NULL);
    static struct stream listening, timing;
    struct epoll_event event = {EPOLLIN, {.ptr = &listening}}, found[256];
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    event.data.ptr = &timing;
    epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &event);
    for (;;) {
        int count = epoll_wait(epoll, found, 256, -1);
        for (int i = 0; i < count; i++) {
            struct stream *s = found[i].data.ptr;
            if (s == &timing) {
                long times;
                if (read(timer, &times, sizeof times) > 0) tick();
            } else if (s == &listening) {
                int fd;
                while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                    s = calloc(1, sizeof *s);
                    s->fd = fd;
                    event = (struct epoll_event){EPOLLIN, {.ptr = s}};
                    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
                }
            } else if (readable(s) < 0) {
                leave(s);
                close(s->fd);
                free(s);
            }
        }
    }
}
