/*
** lua_sse.c: the binding of sse.h.
*/
#include "base/err.h"
#include "lua/lua_util.h"
#include "parts/sse.h"

#define TYPE "unbusy.sse"

static ub_sse *checksse (lua_State *L) {
  return luaL_checkudata(L, 1, TYPE);
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
  ub_sse_init(ub_newuserdata(L, sizeof(ub_sse)), limit);
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

/* p:feed(bytes) -> { { data =, event =, id =, retry = }, … } | nil, message, code */
static int sse_feed (lua_State *L) {
  ub_sse *p = checksse(L);
  ub_sse_event event;
  size_t length;
  const char *bytes;
  int n = 0;
  luaL_checktype(L, 2, LUA_TSTRING);
  bytes = lua_tolstring(L, 2, &length);
  lua_settop(L, 2);
  if (ub_sse_feed(p, bytes, length) != UB_OK)
    return pushfailure(L, p);
  lua_newtable(L);
  while (ub_sse_next(p, &event)) {  /* the chunk stays on the stack */
    pushevent(L, &event);
    lua_rawseti(L, 3, ++n);
  }
  return n > 0 || ub_sse_error(p) == UB_OK ? 1 : pushfailure(L, p);
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

void ub_open_sse (lua_State *L) {
  static const luaL_Reg methods[] = {
    {"feed", sse_feed}, {"comments", sse_comments}, {"finish", sse_finish}, {NULL, NULL}
  };
  static const luaL_Reg meta[] = {{"__gc", sse_gc}, {NULL, NULL}};
  ub_newtype(L, TYPE, methods, meta);
  lua_pushcfunction(L, sse_new);
  lua_setfield(L, -2, "sse");
}
