/*
** redis_bare.c: the floor of bench/redis.lua: hiredis' blocking API and nothing else.
**
**   redis_bare SOCKET NAME COUNT AT_ONCE -> wall and CPU microseconds of one GET
*/
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double seconds (clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* So many one behind the other; 0 when a reply is no string. */
static int get (redisContext *c, const char *name, int at_once) {
  int i, good = 1;
  for (i = 0; i < at_once; i++)
    redisAppendCommand(c, "GET %s", name);
  for (i = 0; i < at_once; i++) {
    redisReply *reply = NULL;
    if (redisGetReply(c, (void **)&reply) != REDIS_OK)
      return 0;
    good = good && reply->type == REDIS_REPLY_STRING;
    freeReplyObject(reply);
  }
  return good;
}

int main (int words, char **word) {
  redisContext *c = words == 5 ? redisConnectUnix(word[1]) : NULL;
  int count = words == 5 ? atoi(word[3]) : 0, at_once = words == 5 ? atoi(word[4]) : 1, done;
  double wall, cpu;
  if (c == NULL || c->err)
    return 1;
  wall = seconds(CLOCK_MONOTONIC);
  cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
  for (done = 0; done < count; done += at_once)
    if (!get(c, word[2], at_once))
      return 1;
  printf("%.3f %.3f\n", (seconds(CLOCK_MONOTONIC) - wall) / done * 1e6,
         (seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu) / done * 1e6);
  redisFree(c);
  return 0;
}
