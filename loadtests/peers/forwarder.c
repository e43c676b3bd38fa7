/* The floor: the least a proxy can do in C with epoll. It parses nothing but the end of a head and Content-Length.
 *
 *     forwarder PORT UPSTREAM_PORT [MIRROR_PORT]
 *
 * Each client has an upstream connection of its own (and one for the mirror). A request is read, written upstream, the
 * answer read, written to the client; then the request goes to the mirror and its answer is thrown away. That is four
 * system calls per request, six with the copy, besides epoll_wait. Messages must fit into one buffer.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUFFER 65536
enum role { CLIENT, UPSTREAM, MIRROR };

struct peer {
    int fd, length;
    enum role role;
    struct session *session;
    char buffer[BUFFER + 1];
};
struct session {
    struct peer peer[3];
    int copying;  /* the mirror has not answered the last copy: the next request is not copied */
    int request;  /* length of the request in the client's buffer while it is under way */
};

static int epoll, upstream_port, mirror_port, on = 1;

static int watch(int fd, void *what) {
    struct epoll_event event = {EPOLLIN, {.ptr = what}};
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

static int dial(int port) {
    struct sockaddr_in where = {AF_INET, htons(port), {htonl(INADDR_LOOPBACK)}, {0}};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (void *)&where, sizeof where)) exit(1);
    return fd;
}

static void end(struct session *s) {
    /* Not freed: later events of the same batch may still point here. */
    for (int i = 0; i < (mirror_port ? 3 : 2); i++) {
        close(s->peer[i].fd);
        s->peer[i].fd = -1;
    }
}

/* Length of the first whole message in the buffer, 0 when it is not whole yet. */
static int whole(struct peer *p) {
    p->buffer[p->length] = 0;
    char *blank = strstr(p->buffer, "\r\n\r\n");
    if (!blank) return 0;
    char *length = strcasestr(p->buffer, "\r\ncontent-length:");
    int total = blank + 4 - p->buffer + (length && length < blank ? atoi(length + 17) : 0);
    return p->length >= total ? total : 0;
}

static void readable(struct peer *p) {
    struct session *s = p->session;
    int n = read(p->fd, p->buffer + p->length, BUFFER - p->length);
    if (n <= 0) { end(s); return; }
    p->length += n;
    int total = whole(p);
    if (!total) return;
    if (p->role == CLIENT) {
        s->request = total;
        if (write(s->peer[UPSTREAM].fd, p->buffer, total) != total) exit(1);
    } else if (p->role == UPSTREAM) {
        if (write(s->peer[CLIENT].fd, p->buffer, total) != total) exit(1);
        p->length = 0;
        if (mirror_port && !s->copying) {
            if (write(s->peer[MIRROR].fd, s->peer[CLIENT].buffer, s->request) != s->request) exit(1);
            s->copying = 1;
        }
        s->peer[CLIENT].length = 0;
    } else {
        p->length = 0;
        s->copying = 0;
    }
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    upstream_port = atoi(argv[2]);
    mirror_port = argc > 3 ? atoi(argv[3]) : 0;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in where = {AF_INET, htons(atoi(argv[1])), {htonl(INADDR_LOOPBACK)}, {0}};
    if (bind(listener, (void *)&where, sizeof where) || listen(listener, 4096)) return 1;
    epoll = epoll_create1(0);
    struct epoll_event event = {EPOLLIN, {.ptr = NULL}}, events[256];
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int count = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < count; i++) {
            struct peer *p = events[i].data.ptr;
            if (p) {
                if (p->fd >= 0) readable(p);
                continue;
            }
            int fd;
            while ((fd = accept4(listener, NULL, NULL, 0)) >= 0) {
                struct session *s = calloc(1, sizeof *s);
                for (int role = 0; role < (mirror_port ? 3 : 2); role++) {
                    s->peer[role].role = role;
                    s->peer[role].session = s;
                    s->peer[role].fd = role == CLIENT ? fd : dial(role == UPSTREAM ? upstream_port : mirror_port);
                    watch(s->peer[role].fd, &s->peer[role]);
                }
            }
        }
    }
}
