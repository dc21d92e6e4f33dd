/* Tells a service manager how far the server is, in the way of systemd (sd_notify(3)): a datagram
 * to the socket that the manager names in NOTIFY_SOCKET. Any thread. */
#ifndef DS4_SERVER_SUPERVISOR_H
#define DS4_SERVER_SUPERVISOR_H

/* `state`: "READY=1", "STOPPING=1". `address` NULL (nobody asked) or a failure: nothing happens. */
void ds4_supervisor_tell(const char *address, const char *state);

#endif
