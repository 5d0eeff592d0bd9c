/*
** lua_sse.c: the binding of sse.h.
*/
#include "base/err.h"
#include "lua/lua_util.h"
#include "parts/sse.h"

#define TYPE "unbusy.sse"

#define MOST (1 << 30)  /* bytes in an event: lengths are good for an int */

/* An event as lua/unbusy/ffi/sse.lua reads it. */
typedef struct sse_event {
  const char *data, *type, *id;
  int32_t data_length, type_length, id_length;
  double retry;  /* seconds, or -1 */
} sse_event;

typedef struct sse_box {
  ub_sse parser;
#if UB_FFI
  sse_event event;  /* the last one, until the next call */
#endif
} sse_box;

static ub_sse *checksse (lua_State *L) {
  return ub_checkself(L, TYPE);
}

static int pushfailure (lua_State *L, const ub_sse *p) {
  int err = ub_sse_error(p);
  if (err != UB_EUPSTREAM)
    return ub_pushfail(L, err, "sse");
  lua_pushnil(L);
  lua_pushfstring(L, "sse: an event of more than %d bytes", (int)p->limit);
  lua_pushstring(L, ub_err_word(err));
  return 3;
}

/* core.sse(options) -> p */
static int sse_new (lua_State *L) {
  size_t limit;
  luaL_checktype(L, 1, LUA_TTABLE);
  limit = (size_t)ub_fieldwhole(L, 1, "limit");
  luaL_argcheck(L, limit <= MOST, 1, "limit is too large");
  ub_sse_init(ub_newuserdata(L, sizeof(sse_box)), limit);
  ub_settype(L, TYPE);  /* it owns nothing before the first 'feed' */
  return 1;
}

static void setspan (lua_State *L, const char *name, ub_sse_span span) {
  lua_pushlstring(L, span.bytes, span.length);
  lua_setfield(L, -2, name);
}

static void pushevent (lua_State *L, const ub_sse_event *event) {
  int has_type = event->type.length > 0, has_id = event->id.length > 0;
  int has_retry = event->retry_ms != UB_SSE_NO_RETRY;
  lua_createtable(L, 0, 1 + has_type + has_id + has_retry);
  setspan(L, "data", event->data);
  if (has_type)
    setspan(L, "event", event->type);
  if (has_id)
    setspan(L, "id", event->id);
  if (has_retry)
    ub_setnumber(L, "retry", (double)event->retry_ms / 1000);
}

/* How many events may a chunk hold, to judge by its first one? */
static int guess (size_t chunk, const ub_sse_event *first) {
  size_t n = chunk / (first->data.length + sizeof("data: \n"));
  return n < 1 ? 1 : n < 256 ? (int)n : 256;
}

/* p:feed(bytes) -> { { data =, event =, id =, retry = }, … } | nil, message, code */
static int sse_feed (lua_State *L) {
  ub_sse *p = checksse(L);
  ub_sse_event event;
  size_t length;
  const char *bytes;
  int n = 0;
  luaL_checktype(L, 2, LUA_TSTRING);
  bytes = lua_tolstring(L, 2, &length);  /* stays on the stack until the end */
  if (ub_sse_feed(p, bytes, length) != UB_OK)
    return pushfailure(L, p);
  if (!ub_sse_next(p, &event)) {
    lua_newtable(L);
    return ub_sse_error(p) == UB_OK ? 1 : pushfailure(L, p);
  }
  lua_createtable(L, guess(length, &event), 0);
  do {
    pushevent(L, &event);
    lua_rawseti(L, -2, ++n);
  } while (ub_sse_next(p, &event));
  return 1;
}

/* p:comments() -> lines */
static int sse_comments (lua_State *L) {
  ub_pushwhole(L, ub_sse_comments(checksse(L)));
  return 1;
}

/* p:finish() -> bytes left incomplete | nil, message, code */
static int sse_finish (lua_State *L) {
  ub_sse *p = checksse(L);
  size_t torn;
  if (ub_sse_finish(p, &torn) != UB_OK)
    return pushfailure(L, p);
  ub_pushwhole(L, (int64_t)torn);
  return 1;
}

static int sse_gc (lua_State *L) {
  ub_sse_fini(checksse(L));
  return 0;
}

#if UB_FFI

/* The next event of the chunk, or NULL. It lies in the box. */
static const sse_event *call_next (sse_box *box) {
  sse_event *out = &box->event;
  ub_sse_event event;
  if (!ub_sse_next(&box->parser, &event))
    return NULL;
  out->data = event.data.bytes;
  out->type = event.type.bytes;
  out->id = event.id.bytes;
  out->data_length = (int32_t)event.data.length;
  out->type_length = (int32_t)event.type.length;
  out->id_length = (int32_t)event.id.length;
  out->retry = event.retry_ms == UB_SSE_NO_RETRY ? -1 : (double)event.retry_ms / 1000;
  return out;
}

/* Hands in a chunk; its first event, or NULL. */
static const sse_event *call_feed (sse_box *box, const char *bytes, size_t length) {
  return ub_sse_feed(&box->parser, bytes, length) == UB_OK ? call_next(box) : NULL;
}

static void setcalls (lua_State *L) {
  ub_setcall(L, "sse", "feed", (ub_call *)call_feed);
  ub_setcall(L, "sse", "next", (ub_call *)call_next);
  ub_setcall(L, "sse", "error", (ub_call *)ub_sse_error);
}

#else
#define setcalls(L) ((void)0)
#endif

void ub_open_sse (lua_State *L) {
  static const luaL_Reg methods[] = {
    {"feed", sse_feed}, {"comments", sse_comments}, {"finish", sse_finish}, {NULL, NULL}
  };
  static const luaL_Reg meta[] = {{"__gc", sse_gc}, {NULL, NULL}};
  ub_newtype(L, TYPE, methods, meta);
  lua_pushcfunction(L, sse_new);
  lua_setfield(L, -2, "sse");
  setcalls(L);
}
