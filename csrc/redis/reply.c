/*
** reply.c: replies of a Redis server.
**
** The first member is a redisReply as hiredis makes one, since it looks at the
** type itself.
*/
#include "redis/reply.h"

#include <string.h>

#include "base/alloc.h"

typedef struct object {
  redisReply reply;
  int kept;
  char bytes[];  /* of a string */
} object;

#if HIREDIS_MAJOR >= 1
typedef size_t count;
#else
typedef int count;
#endif

static int is_expected (const redisReadTask *task) {
  const ub_reply_gate *gate = task->privdata;
  return task->parent != NULL || gate->expects(gate->self);
}

/* Does a part of the reply that takes so many bytes here find room? The reader forgets what it has
   read of a list that has not ended: its own length says nothing. */
static int has_room (const redisReadTask *task, size_t bytes) {
  ub_reply_gate *gate = task->privdata;
  if (task->parent == NULL)
    gate->bytes = 0;
  gate->exceeded = bytes > gate->most_bytes - gate->bytes;
  if (!gate->exceeded)
    gate->bytes += bytes;
  return !gate->exceeded;
}

/* It is not taken, and that is no want of memory. */
static void *refuse (const redisReadTask *task) {
  ((ub_reply_gate *)task->privdata)->exceeded = 1;
  return NULL;
}

/* A new object in its place, with room for a string, and 'more' bytes that it will have besides;
   NULL when there is no memory, it would be too much, or nobody has asked. */
static object *make (const redisReadTask *task, int type, size_t length, size_t more) {
  object *o;
  if (!is_expected(task) || !has_room(task, sizeof *o + length + 1 + more))
    return NULL;
  o = ub_alloc(sizeof *o + length + 1);
  if (o == NULL)
    return NULL;
  memset(o, 0, sizeof *o);
  o->reply.type = type;
  if (task->parent != NULL)
    ((redisReply *)task->parent->obj)->element[task->idx] = &o->reply;
  return o;
}

static void *make_string (const redisReadTask *task, char *bytes, size_t length) {
  object *o = make(task, task->type, length, 0);
  if (o == NULL)
    return NULL;
  memcpy(o->bytes, bytes, length);
  o->bytes[length] = '\0';
  o->reply.str = o->bytes;
  o->reply.len = length;
  return o;
}

static void *make_array (const redisReadTask *task, count items) {
  size_t size = (size_t)items * sizeof(redisReply *);
  object *o;
  if ((size_t)items > UB_REPLY_ITEMS)
    return refuse(task);
  o = make(task, REDIS_REPLY_ARRAY, 0, size);
  if (o == NULL || items == 0)
    return o;
  o->reply.element = ub_alloc(size);
  if (o->reply.element != NULL) {
    memset(o->reply.element, 0, size);
    o->reply.elements = (size_t)items;
    return o;
  }
  if (task->parent != NULL)
    ((redisReply *)task->parent->obj)->element[task->idx] = NULL;
  ub_free(o);
  return NULL;
}

static void *make_integer (const redisReadTask *task, long long n) {
  object *o = make(task, REDIS_REPLY_INTEGER, 0, 0);
  if (o != NULL)
    o->reply.integer = n;
  return o;
}

static void *make_nil (const redisReadTask *task) {
  return make(task, REDIS_REPLY_NIL, 0, 0);
}

#if HIREDIS_MAJOR >= 1

/* Of a later protocol, which was not asked for. */
static void *make_double (const redisReadTask *task, double n, char *bytes, size_t length) {
  (void)n; (void)bytes; (void)length;
  return refuse(task);
}

static void *make_bool (const redisReadTask *task, int truth) {
  (void)truth;
  return refuse(task);
}

#endif

static void free_tree (redisReply *reply) {
  size_t i;
  if (reply == NULL)
    return;
  for (i = 0; i < reply->elements; i++)
    free_tree(reply->element[i]);
  ub_free(reply->element);
  ub_free(reply);
}

static void free_object (void *reply) {
  if (reply != NULL && !((object *)reply)->kept)
    free_tree(reply);
}

redisReplyObjectFunctions ub_reply_functions = {
  .createString = make_string, .createArray = make_array, .createInteger = make_integer,
  .createNil = make_nil, .freeObject = free_object,
#if HIREDIS_MAJOR >= 1
  .createDouble = make_double, .createBool = make_bool,
#endif
};

void ub_reply_keep (redisReply *reply) {
  ((object *)(void *)reply)->kept = 1;
}

void ub_reply_free (redisReply *reply) {
  free_tree(reply);
}

const char *ub_reply_error (const redisReply *reply) {
  static const char *const known[] = {
    "NOAUTH", "WRONGPASS", "NOPERM", "OOM", "READONLY", "MISCONF", "NOREPLICAS", "LOADING",
    "MASTERDOWN", "BUSY", "MOVED", "ASK", "CLUSTERDOWN", "CROSSSLOT", "TRYAGAIN", "WRONGTYPE",
    UB_REPLY_CROWDED
  };
  size_t i, length;
  for (i = 0; i < sizeof known / sizeof known[0]; i++) {
    length = strlen(known[i]);
    if ((size_t)reply->len >= length && memcmp(reply->str, known[i], length) == 0 &&
        (reply->str[length] == ' ' || reply->str[length] == '\0'))
      return known[i];
  }
  return "ERR";
}
