/* The floor: the least that a client can do on this machine, for benchmarks/client_truth.py to compare with.
 *
 * One epoll loop, one recv per readiness, one clock stamp per read, event ends counted by looking for "\n\n". No parsing,
 * no allocation in the loop. Usage: floor PORT STREAMS EVENTS REQUEST_FILE OUT_FILE
 * OUT_FILE: per stream int64 sent_ns, serial, then EVENTS x int64 arrival_ns. Prints "<cpu_s> <wall_s> <reads>".
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
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

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static double cpu_s(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

int main(int count, char **argument) {
    if (count != 6) return 2;
    int port = atoi(argument[1]), streams = atoi(argument[2]), events = atoi(argument[3]);
    static char request[1 << 20], buffer[1 << 16];
    FILE *file = fopen(argument[4], "rb");
    if (!file) return 3;
    size_t length = fread(request, 1, sizeof request, file);
    fclose(file);
    int poll = epoll_create1(0), one = 1;
    int *sockets = calloc(streams, sizeof *sockets), *seen = calloc(streams, sizeof *seen);
    int64_t *row = calloc((size_t)streams * (events + 2), sizeof *row);
    char *last = calloc(streams, 1);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (int i = 0; i < streams; i++) {
        sockets[i] = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(sockets[i], (struct sockaddr *)&to, sizeof to)) return 4;
        setsockopt(sockets[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event want = {.events = EPOLLIN, .data.u32 = i};
        epoll_ctl(poll, EPOLL_CTL_ADD, sockets[i], &want);
        row[(size_t)i * (events + 2) + 1] = -1;
    }
    double cpu = cpu_s();
    int64_t start = now_ns(), reads = 0;
    for (int i = 0; i < streams; i++) {
        row[(size_t)i * (events + 2)] = now_ns();
        if (send(sockets[i], request, length, 0) != (ssize_t)length) return 5;
    }
    for (int left = streams; left;) {
        struct epoll_event ready[256];
        int n = epoll_wait(poll, ready, 256, 10000);
        if (n <= 0) return 6;
        for (int k = 0; k < n; k++) {
            int i = ready[k].data.u32;
            ssize_t got = recv(sockets[i], buffer, sizeof buffer, 0);
            if (got <= 0) return 7;
            int64_t at = now_ns(), *mine = row + (size_t)i * (events + 2);
            reads++;
            if (mine[1] < 0) {
                char *id = memmem(buffer, got, "cmpl-", 5);
                if (id) mine[1] = atoll(id + 5);
            }
            char before = last[i];
            for (ssize_t b = 0; b < got; b++) {
                if (buffer[b] == '\n' && before == '\n') {
                    if (seen[i] < events) mine[2 + seen[i]] = at;
                    seen[i]++;
                }
                before = buffer[b];
            }
            last[i] = before;
            if (got >= 5 && !memcmp(buffer + got - 5, "0\r\n\r\n", 5)) {
                left--;
                epoll_ctl(poll, EPOLL_CTL_DEL, sockets[i], NULL);
            }
        }
    }
    printf("%.6f %.6f %lld\n", cpu_s() - cpu, (now_ns() - start) / 1e9, (long long)reads);
    file = fopen(argument[5], "wb");
    if (!file || fwrite(row, sizeof *row, (size_t)streams * (events + 2), file) != (size_t)streams * (events + 2)) return 8;
    fclose(file);
    return 0;
}
