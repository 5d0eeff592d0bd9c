/*
** garbage.c: a server on a unix socket that says what it is told, byte for byte, to
** whatever it hears. Built and run by garbage.lua.
**
**   garbage SOCKET SCRIPT
**
** The file SCRIPT is read at each turn: a letter, and the bytes to say.
**   k  say them, keep the connection      c  say them, and close it
**   g  greet: say them as soon as somebody connects
**   f  flood: say them again and again    h  say nothing, ever
*/
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PEERS 64

static char script[1 << 20];
static size_t length;  /* of the bytes to say */

static char read_script (const char *path) {
  FILE *file = fopen(path, "rb");
  size_t got = file != NULL ? fread(script, 1, sizeof script, file) : 0;
  if (file != NULL)
    fclose(file);
  length = got > 0 ? got - 1 : 0;
  return got > 0 ? script[0] : 'h';
}

static int say (int fd) {
  return send(fd, script + 1, length, MSG_NOSIGNAL) == (ssize_t)length;
}

/* It has said something: 0 when the connection is over. */
static int answer (int fd, const char *path) {
  char heard[65536];
  char mode;
  if (read(fd, heard, sizeof heard) <= 0)
    return 0;
  mode = read_script(path);
  if (mode == 'h' || mode == 'g')
    return 1;
  while (say(fd) && mode == 'f') {}
  return mode == 'k';
}

/* It has its name when it listens, not before: who sees the name may connect. */
static int open_socket (const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  snprintf(address.sun_path, sizeof address.sun_path, "%s.new", path);
  if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 ||
      listen(fd, PEERS) != 0 || rename(address.sun_path, path) != 0)
    exit(1);
  return fd;
}

static void take_in (struct pollfd *peers, int *count, const char *path) {
  int fd = accept(peers[0].fd, NULL, NULL);
  if (fd < 0)
    return;
  if (*count == PEERS) {
    close(fd);
    return;
  }
  if (read_script(path) == 'g')
    say(fd);
  peers[*count].fd = fd;
  peers[(*count)++].events = POLLIN;
}

int main (int count, char **words) {
  static struct pollfd peers[PEERS];
  int open = 1, i;
  if (count != 3)
    return 2;
  signal(SIGPIPE, SIG_IGN);
  peers[0].fd = open_socket(words[1]);
  peers[0].events = POLLIN;
  while (poll(peers, (nfds_t)open, -1) >= 0) {
    for (i = open - 1; i > 0; i--) {
      if (peers[i].revents == 0 || answer(peers[i].fd, words[2]))
        continue;
      close(peers[i].fd);
      peers[i] = peers[--open];
    }
    if (peers[0].revents != 0)
      take_in(peers, &open, words[2]);
  }
  return 1;
}
