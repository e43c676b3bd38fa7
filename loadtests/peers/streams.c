/* A language model that costs as little as possible: every POST is answered with server-sent events, one each GAP ms.
 *
 *     streams PORT EVENTS GAP_MS
 *
 * One epoll loop and one timer: at each tick every stream under way gets its next event as a chunk of its own, as engines
 * send them; then `data: [DONE]` and the last chunk. Requests have a Content-Length or chunks whose end is believed where
 * a read ends with it.
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
#include <unistd.h>

#define BUFFER 65536
static const char EVENT[] = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" token\"}}]}\n\n";
static const char HEAD[] = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

struct stream {
    int fd, length, left; /* bytes of an incomplete head; events still to send */
    long body_left;       /* bytes of a body still to come; -1 until the last chunk */
    struct stream *next, *before; /* those under way */
    char head[BUFFER];
};
static struct stream *active;
static int events_each;
static char chunk[512], last[64];
static int chunk_length, last_length;

static void leave(struct stream *s) {
    if (s->before) s->before->next = s->next;
    else if (active == s) active = s->next;
    if (s->next) s->next->before = s->before;
    s->next = s->before = NULL;
}
static void begin(struct stream *s) {
    if (write(s->fd, HEAD, sizeof HEAD - 1) < 0) return;
    s->left = events_each;
    s->before = NULL;
    s->next = active;
    if (active) active->before = s;
    active = s;
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
static void tick(void) {
    for (struct stream *s = active, *next; s; s = next) {
        next = s->next;
        const char *bytes = s->left ? chunk : last;
        int length = s->left ? chunk_length : last_length;
        if (write(s->fd, bytes, length) < 0) s->left = 0;
        if (s->left-- <= 0) leave(s);
    }
}

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    signal(SIGPIPE, SIG_IGN);
    events_each = atoi(argv[2]);
    chunk_length = sprintf(chunk, "%zx\r\n%s\r\n", sizeof EVENT - 1, EVENT);
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
