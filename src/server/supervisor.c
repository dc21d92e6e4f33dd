#include "server/supervisor.h"

#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

void ds4_supervisor_tell(const char *address, const char *state) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t n = address != NULL ? strlen(address) : 0;
    if (n < 2 || n >= sizeof to.sun_path || (address[0] != '/' && address[0] != '@')) return;
    memcpy(to.sun_path, address, n);
    if (address[0] == '@') to.sun_path[0] = '\0'; /* Linux's abstract names */
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    if (fd < 0) return;
    ssize_t sent = sendto(fd, state, strlen(state), 0, (struct sockaddr *)&to,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n));
    (void)sent; /* nobody to tell it to */
    close(fd);
}
