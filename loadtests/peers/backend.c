/* A model server that costs as little as possible: one epoll loop, one canned V2 answer.
 *
 *     backend PORT BODY_BYTES [hang|flood|chat|LONG_BYTES]
 *
 * Requests have a Content-Length, chunks (whose end is believed where a read ends with it) or no body. `hang` reads and
 * never answers; `flood` answers 10 MB; `chat` answers as OpenAI's chat completions; LONG_BYTES is the answer to a path that begins with /long.
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
#include <unistd.h>

#define BUFFER 65536

struct connection {
    int fd;
    long body_left;   /* bytes of a request's body still to come; -1 until the last chunk */
    char tail[5];     /* the last bytes of a chunked body */
    int is_long;
    int head_length;  /* bytes of an incomplete head in `head` */
    char *out;        /* what is left to write of the answer */
    long out_left;
    int armed;        /* EPOLLOUT is asked for */
    char head[BUFFER];
};

struct answer { char *bytes; long length; };
static struct answer answers[2]; /* the usual one, the long one */
static int hang;

static const char CHAT[] =
    "{\"id\":\"c\",\"object\":\"chat.completion\",\"choices\":[{\"index\":0,\"finish_reason\":\"stop\",\"message\":"
    "{\"role\":\"assistant\",\"content\":\"";
static const char CHAT_END[] = "\"}}]}";

/* JSON whose last text is filled up with x. */
static void make_answer(struct answer *made, long body, int chat) {
    static const char v2[] =
        "{\"model_name\":\"credit\",\"outputs\":[{\"name\":\"predict_proba\",\"datatype\":\"FP64\","
        "\"shape\":[1,2],\"data\":[0.25,0.75]}],\"id\":\"";
    char *answer = malloc(body + 256);
    long head = sprintf(answer, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %ld\r\n\r\n", body);
    memset(answer + head, 'x', body);
    const char *json = chat ? CHAT : v2, *end = chat ? CHAT_END : "\"}";
    long begins = strlen(json), ends = strlen(end);
    if (body >= begins + ends) {
        memcpy(answer + head, json, begins);
        memcpy(answer + head + body - ends, end, ends);
    }
    *made = (struct answer){answer, head + body};
}

static void flush(int epoll, struct connection *c) {
    while (c->out_left > 0) {
        ssize_t n = write(c->fd, c->out, c->out_left);
        if (n <= 0) break;
        c->out += n;
        c->out_left -= n;
    }
    int want = c->out_left > 0;
    struct epoll_event event = {want ? EPOLLIN | EPOLLOUT : EPOLLIN, {.ptr = c}};
    if (want != c->armed) epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event);
    c->armed = want;
}

static int readable(int epoll, struct connection *c) {
    char buffer[BUFFER];
    ssize_t n = read(c->fd, buffer, sizeof buffer);
    if (n <= 0) return -1;
    char *at = buffer, *end = buffer + n;
    while (at < end) {
        if (c->body_left < 0) {
            long size = end - at, last = size < 5 ? size : 5;
            memmove(c->tail, c->tail + last, 5 - last);
            memcpy(c->tail + 5 - last, end - last, last);
            at = end;
            if (!memcmp(c->tail, "0\r\n\r\n", 5)) c->body_left = 0;
        } else if (c->body_left > 0) {
            long take = end - at < c->body_left ? end - at : c->body_left;
            at += take;
            c->body_left -= take;
        } else {
            long room = BUFFER - 1 - c->head_length, take = end - at < room ? end - at : room;
            memcpy(c->head + c->head_length, at, take);
            c->head[c->head_length + take] = 0;
            char *blank = strstr(c->head, "\r\n\r\n");
            if (!blank) {
                c->head_length += take;
                at += take;
                continue;
            }
            at += blank + 4 - c->head - c->head_length;
            char *length = strcasestr(c->head, "\r\ncontent-length:");
            c->body_left = length && length < blank ? atol(length + 17) : 0;
            char *chunked = strcasestr(c->head, "\r\ntransfer-encoding:");
            if (chunked && chunked < blank) {
                c->body_left = -1;
                memset(c->tail, 0, sizeof c->tail);
            }
            char *path = strchr(c->head, ' ');
            c->is_long = path && path < blank && !strncmp(path + 1, "/long", 5);
            c->head_length = 0;
        }
        if (c->body_left == 0 && c->head_length == 0 && !hang) {
            struct answer *chosen = &answers[c->is_long && answers[1].bytes];
            c->out = chosen->bytes;
            c->out_left = chosen->length;
            flush(epoll, c);
        }
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    signal(SIGPIPE, SIG_IGN); /* who asked may have left in the middle of a long answer */
    hang = argc > 3 && !strcmp(argv[3], "hang");
    int chat = argc > 3 && !strcmp(argv[3], "chat");
    make_answer(&answers[0], argc > 3 && !strcmp(argv[3], "flood") ? 10000000 : atol(argv[2]), chat);
    if (argc > 3 && atol(argv[3])) make_answer(&answers[1], atol(argv[3]), 0);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in where = {AF_INET, htons(atoi(argv[1])), {htonl(INADDR_LOOPBACK)}, {0}};
    if (bind(listener, (void *)&where, sizeof where) || listen(listener, 4096)) return 1;
    int epoll = epoll_create1(0);
    struct epoll_event event = {EPOLLIN, {.ptr = NULL}}, events[256];
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int count = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < count; i++) {
            struct connection *c = events[i].data.ptr;
            if (!c) {
                int fd;
                while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                    c = calloc(1, sizeof *c);
                    c->fd = fd;
                    event = (struct epoll_event){EPOLLIN, {.ptr = c}};
                    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
                }
                continue;
            }
            if (events[i].events & EPOLLOUT) flush(epoll, c);
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR) && readable(epoll, c) < 0) {
                close(c->fd);
                free(c);
            }
        }
    }
}
