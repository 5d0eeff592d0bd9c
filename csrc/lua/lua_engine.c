/*
** lua_engine.c: the binding of engine.h.
*/
#include <stddef.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "engine/engine.h"
#include "engine/header.h"
#include "lua/lua_secrets.h"
#include "lua/lua_util.h"

#define TYPE "unbusy.engine"
#define WINDOW 65536  /* bytes, unless the request says otherwise */

typedef struct box {
  ub_engine *engine;  /* NULL: closed */
} box;

/* core.engine() -> engine | nil, message, code */
static int engine_new (lua_State *L) {
  int err;
  box *b = ub_newuserdata(L, sizeof *b);
  b->engine = NULL;  /* closed first, so that __gc can treat it */
  ub_settype(L, TYPE);
  b->engine = ub_engine_open(&err);
  return b->engine != NULL ? 1 : ub_pushfail(L, err, "engine");
}

static ub_engine *check (lua_State *L) {
  box *b = luaL_checkudata(L, 1, TYPE);
  luaL_argcheck(L, b->engine != NULL, 1, "the engine is closed");
  return b->engine;
}

/* e:close(); may be called twice, and is __gc and __close */
static int engine_close (lua_State *L) {
  box *b = luaL_checkudata(L, 1, TYPE);
  ub_engine *e = b->engine;
  b->engine = NULL;
  ub_engine_close(e);
  return 0;
}

/* A field that counts bytes. */
static uint64_t bytes_field (lua_State *L, const char *name) {
  double n = ub_fieldnumber(L, 2, name);
  if (!(n >= 0))
    luaL_error(L, "request: '%s' is no number of bytes", name);
  return n < 9007199254740992.0 ? (uint64_t)n : UINT64_MAX;  /* 2^53 and more: no limit */
}

/* The header line on top, which must be one line. */
static const char *header_line (lua_State *L, int i) {
  size_t length;
  const char *line;
  if (lua_type(L, -1) != LUA_TSTRING)
    luaL_error(L, "request: header %d is no string", i);
  line = lua_tolstring(L, -1, &length);
  if (memchr(line, '\r', length) || memchr(line, '\n', length) || memchr(line, '\0', length))
    luaL_error(L, "request: header %d is more than one line", i);
  return line;
}

#define FEW 32

/* The list 'headers' as a NULL-ended array: in 'few', or in a userdata left on the stack. */
static const char *const *header_lines (lua_State *L, const char *few[FEW]) {
  const char **lines = few;
  size_t count, i;
  int list;
  lua_getfield(L, 2, "headers");
  luaL_checktype(L, -1, LUA_TTABLE);
  list = lua_gettop(L);
  count = lua_rawlen(L, list);
  if (count >= FEW)
    lines = ub_newuserdata(L, (count + 1) * sizeof *lines);
  for (i = 0; i < count; i++) {
    lua_rawgeti(L, list, (int)i + 1);
    lines[i] = header_line(L, (int)i + 1);
    lua_pop(L, 1);
  }
  lines[count] = NULL;
  return lines;
}

/* The fields that are strings, and where they go; the table keeps them alive. */
static const struct {
  const char *name;
  size_t at;
} strings[] = {
  {"url", offsetof(ub_request, url)}, {"method", offsetof(ub_request, method)},
  {"body", offsetof(ub_request, body)}, {"proxy", offsetof(ub_request, proxy)},
  {"ca_file", offsetof(ub_request, ca_file)}, {"ca_path", offsetof(ub_request, ca_path)},
  {"cert_file", offsetof(ub_request, cert_file)}, {"key_file", offsetof(ub_request, key_file)},
};

/* Most names differ in their first letter. */
static int same (const char *a, const char *b) {
  return *a == *b && strcmp(a, b) == 0;
}

/* The value on top, if 'name' is one of them. */
static int read_string (lua_State *L, const char *name, ub_request *r) {
  size_t i, length;
  for (i = 0; i < sizeof strings / sizeof strings[0]; i++) {
    if (!same(strings[i].name, name))
      continue;
    if (lua_type(L, -1) != LUA_TSTRING)
      luaL_error(L, "request: '%s' is no string", name);
    *(const char **)((char *)r + strings[i].at) = lua_tolstring(L, -1, &length);
    if (strings[i].at == offsetof(ub_request, body))
      r->body_size = length;
    return 1;
  }
  return 0;
}

/* The field 'name', its value on top. Most requests have few: they are walked through. */
static void read_field (lua_State *L, const char *name, ub_request *r) {
  if (read_string(L, name, r))
    return;
  else if (same(name, "connect"))
    r->connect_us = ub_fieldus(L, 2, name);
  else if (same(name, "window"))
    r->window_bytes = (size_t)bytes_field(L, name);
  else if (same(name, "most"))
    r->most_bytes = bytes_field(L, name);
  else if (same(name, "insecure"))
    r->insecure = lua_toboolean(L, -1);
  else if (same(name, "http1"))
    r->http1 = lua_toboolean(L, -1);
  else if (same(name, "once"))
    r->once = lua_toboolean(L, -1);
  else if (same(name, "streams"))
    r->streams = lua_toboolean(L, -1);
}

static void read_request (lua_State *L, ub_request *r, const char *few[FEW]) {
  luaL_checktype(L, 2, LUA_TTABLE);
  r->window_bytes = WINDOW;
  for (lua_pushnil(L); lua_next(L, 2) != 0; lua_pop(L, 1)) {
    if (lua_type(L, -2) == LUA_TSTRING)
      read_field(L, lua_tostring(L, -2), r);
  }
  if (r->url == NULL || r->method == NULL)
    luaL_error(L, "request: 'url' and 'method' are needed");
  if (r->window_bytes == 0)
    luaL_error(L, "request: 'window' is 0: nothing could ever come");
  r->headers = header_lines(L, few);
}

/* e:submit(request, body or nil) -> id | nil, message, code; nil: request.body */
static int engine_submit (lua_State *L) {
  ub_request request = {0};
  const char *few[FEW];
  uint64_t id;
  int err;
  check(L);
  lua_settop(L, 3);
  read_request(L, &request, few);
  if (!lua_isnil(L, 3))
    request.body = luaL_checklstring(L, 3, &request.body_size);
  err = ub_engine_submit(check(L), &request, &id);  /* a finalizer may have closed it */
  if (err != UB_OK)
    return ub_pushfail(L, err, "engine");
  ub_pushwhole(L, (int64_t)id);
  return 1;
}

/* e:step() -> true | nil, message, code */
static int engine_step (lua_State *L) {
  int err = ub_engine_step(check(L));
  if (err != UB_OK)
    return ub_pushfail(L, err, "engine");
  lua_pushboolean(L, 1);
  return 1;
}

/* e:wait(seconds or nil): until a step is due, a signal came, or the time is up */
static int engine_wait (lua_State *L) {
  ub_engine *e = check(L);
  int64_t us = lua_isnoneornil(L, 2) ? 0 : ub_checkus(L, 2);
  ub_engine_wait(e, lua_isnoneornil(L, 2) ? -1 : us > 0 ? us : 0);
  return 0;
}

/* e:next() -> id or nil */
static int engine_next (lua_State *L) {
  uint64_t id = ub_engine_next(check(L));
  if (id == 0)
    lua_pushnil(L);
  else
    ub_pushwhole(L, (int64_t)id);
  return 1;
}

static char lower (char c) {
  return (char)(c >= 'A' && c <= 'Z' ? c + 'a' - 'A' : c);
}

/* The header's name in lower case; few are longer than the buffer. */
static void push_name (lua_State *L, const ub_header *h) {
  char name[64];
  luaL_Buffer b;
  size_t i;
  if (h->name_length <= sizeof name) {
    for (i = 0; i < h->name_length; i++)
      name[i] = lower(h->name[i]);
    lua_pushlstring(L, name, h->name_length);
    return;
  }
  luaL_buffinit(L, &b);
  for (i = 0; i < h->name_length; i++)
    luaL_addchar(&b, lower(h->name[i]));
  luaL_pushresult(&b);
}

/* table[lower-case name] = value; a repeated name's values are joined by ", " */
static void push_header (lua_State *L, const ub_header *h) {
  push_name(L, h);
  lua_pushvalue(L, -1);
  lua_rawget(L, -3);
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    lua_pushlstring(L, h->value, h->value_length);
  } else {
    lua_pushliteral(L, ", ");
    lua_pushlstring(L, h->value, h->value_length);
    lua_concat(L, 3);
  }
  lua_rawset(L, -3);
}

static int push_head (lua_State *L, const ub_news *news, const ub_secrets *secrets) {
  int echoes = secrets != NULL && ub_secrets_in(secrets, news->bytes, news->length);
  ub_header header;
  size_t at = 0;
  lua_pushliteral(L, "head");
  ub_pushwhole(L, news->status);
  lua_createtable(L, 0, 8);
  while (ub_header_next(news->bytes, news->length, &at, &header))
    push_header(L, &header);
  lua_pushboolean(L, news->resent);
  lua_pushboolean(L, echoes);
  return 5;
}

/* 'brief': nobody wants to know more of a good end. */
static int push_end (lua_State *L, const ub_news *news, int brief) {
  lua_pushliteral(L, "end");
  if (brief && news->err == UB_OK)
    return 1;
  if (news->err == UB_OK) {
    lua_pushnil(L);
    lua_pushnil(L);
  } else {
    lua_pushstring(L, ub_err_word(news->err));
    lua_pushstring(L, news->message);
  }
  lua_createtable(L, 0, 6);
  lua_pushstring(L, news->phase);
  lua_setfield(L, -2, "phase");
  ub_setnumber(L, "first", (double)news->first_us / UB_SECOND_US);
  ub_setnumber(L, "total", (double)news->total_us / UB_SECOND_US);
  lua_pushboolean(L, news->reused);
  lua_setfield(L, -2, "reused");
  lua_pushboolean(L, news->http2);
  lua_setfield(L, -2, "http2");
  lua_pushboolean(L, news->resent);
  lua_setfield(L, -2, "resent");
  lua_pushboolean(L, news->lasting);
  lua_setfield(L, -2, "lasting");
  return 4;
}

/*
** e:take(id, secrets or nil, brief) -> nil | "head", status, headers, resent, echoes
**             | "data", bytes
**             | "end", code or nil, message or nil, { phase, first, total, reused, http2,
**                                           resent, lasting }; a good one with 'brief': "end"
*/
static int engine_take (lua_State *L) {
  ub_news news;
  ub_engine *e = check(L);
  const ub_secrets *secrets = ub_optsecrets(L, 3);
  ub_engine_take(e, ub_checkticket(L, 2), &news);
  switch (news.kind) {
    case UB_NEWS_HEAD: return push_head(L, &news, secrets);
    case UB_NEWS_END: return push_end(L, &news, lua_toboolean(L, 4));
    case UB_NEWS_DATA:
      lua_pushliteral(L, "data");
      lua_pushlstring(L, news.bytes, news.length);
      return 2;
    default:
      lua_pushnil(L);
      return 1;
  }
}

/* e:gather(id, bytes) -> true | nil, message, code: see engine.h */
static int engine_gather (lua_State *L) {
  ub_engine *e = check(L);
  uint64_t id = ub_checkticket(L, 2);
  size_t length;
  const char *bytes = luaL_checklstring(L, 3, &length);
  int err = ub_engine_gather(e, id, bytes, length);
  if (err != UB_OK)
    return ub_pushfail(L, err, "engine");
  lua_pushboolean(L, 1);
  return 1;
}

/* e:cancel(id) */
static int engine_cancel (lua_State *L) {
  ub_engine *e = check(L);
  ub_engine_cancel(e, ub_checkticket(L, 2));
  return 0;
}

/* e:fd() -> the descriptor to wait on */
static int engine_fd (lua_State *L) {
  ub_pushwhole(L, ub_engine_fd(check(L)));
  return 1;
}

/* e:listen(descriptor) -> true | nil, message, code: watch one of the host's too */
static int engine_listen (lua_State *L) {
  ub_engine *e = check(L);
  int err = ub_engine_listen(e, (int)luaL_checknumber(L, 2));
  if (err != UB_OK)
    return ub_pushfail(L, err, "engine");
  lua_pushboolean(L, 1);
  return 1;
}

/* e:ignore(descriptor): watch it no longer */
static int engine_ignore (lua_State *L) {
  ub_engine *e = check(L);
  ub_engine_ignore(e, (int)luaL_checknumber(L, 2));
  return 0;
}

/* e:heard() -> was one readable since the last time? Read them empty before. */
static int engine_heard (lua_State *L) {
  lua_pushboolean(L, ub_engine_heard(check(L)));
  return 1;
}

/* e:owned() -> does it belong to this process, and is it open? */
static int engine_owned (lua_State *L) {
  box *b = luaL_checkudata(L, 1, TYPE);
  lua_pushboolean(L, b->engine != NULL && ub_engine_owned(b->engine));
  return 1;
}

/* e:active() -> number of transfers not yet ended */
static int engine_active (lua_State *L) {
  ub_pushwhole(L, ub_engine_active(check(L)));
  return 1;
}

void ub_open_engine (lua_State *L) {
  static const luaL_Reg methods[] = {
    {"submit", engine_submit}, {"step", engine_step}, {"wait", engine_wait},
    {"next", engine_next}, {"take", engine_take}, {"gather", engine_gather},
    {"cancel", engine_cancel},
    {"fd", engine_fd}, {"listen", engine_listen}, {"ignore", engine_ignore},
    {"heard", engine_heard},
    {"owned", engine_owned}, {"active", engine_active},
    {"close", engine_close}, {NULL, NULL}
  };
  static const luaL_Reg meta[] = {{"__gc", engine_close}, {"__close", engine_close}, {NULL, NULL}};
  ub_newtype(L, TYPE, methods, meta);
  lua_pushcfunction(L, engine_new);
  lua_setfield(L, -2, "engine");
}
