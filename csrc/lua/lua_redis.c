/*
** lua_redis.c: opens 'unbusy.core_redis': links to Redis servers (link.h), and
** answers kept there (frame.h). A module of its own, since it needs hiredis;
** lua/unbusy/core_redis.meta.lua describes it. 'unbusy.core' is loaded before: it
** has the keys.
*/
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/err.h"
#include "lua/lua_key.h"
#include "lua/lua_util.h"
#include "redis/frame.h"
#include "redis/link.h"

#define TYPE  "unbusy.core_redis.link"
#define REPLY "unbusy.core_redis.reply"

#define KEY_META lua_upvalueindex(2)  /* of methods that take keys */

#define SLACK 65536      /* bytes of a reply beside the value, and of others read with it */
#define MOST_WORDS 65536 /* of one command */
#define MOST_PREFIX 128

typedef struct box {
  ub_link *link;  /* NULL: closed */
  size_t most_bytes;
  size_t prefix_length;
  char prefix[MOST_PREFIX];
} box;

static box *checkbox (lua_State *L) {
  box *b = ub_checkself(L, TYPE);
  luaL_argcheck(L, b->link != NULL, 1, "the link is closed");
  return b;
}

static ub_link *check (lua_State *L) {
  return checkbox(L)->link;
}

/* {== Making ============================================================== */

/* A field that is a text without NULs, or NULL; the table keeps it alive. */
static const char *text_field (lua_State *L, const char *name, size_t *length) {
  const char *text = NULL;
  lua_getfield(L, 1, name);
  *length = 0;
  if (!lua_isnil(L, -1)) {
    text = luaL_checklstring(L, -1, length);
    luaL_argcheck(L, strlen(text) == *length, 1, "a text with a NUL");
  }
  lua_pop(L, 1);
  return text;
}

/*
** core_redis.link{ path =, host =, port =, database =, user =, password =, prefix =,
** most = } -> link | nil, message, code
*/
static int link_new (lua_State *L) {
  ub_link_config c = {0};
  const char *prefix;
  size_t length;
  int err;
  box *b;
  luaL_checktype(L, 1, LUA_TTABLE);
  c.path = text_field(L, "path", &length);
  c.host = text_field(L, "host", &length);
  luaL_argcheck(L, c.path != NULL || c.host != NULL, 1, "a path or a host expected");
  c.user = text_field(L, "user", &length);
  c.password = text_field(L, "password", &length);
  c.port = (int)ub_fieldwhole(L, 1, "port");
  c.database = (int)ub_fieldwhole(L, 1, "database");
  c.most_bytes = (size_t)ub_fieldwhole(L, 1, "most") + SLACK;
  prefix = text_field(L, "prefix", &length);
  luaL_argcheck(L, prefix != NULL && length <= MOST_PREFIX, 1, "prefix too long");
  b = ub_newuserdata(L, sizeof *b);
  b->link = NULL;  /* closed first, so that __gc can treat it */
  b->most_bytes = c.most_bytes - SLACK;
  b->prefix_length = length;
  memcpy(b->prefix, prefix, length);
  ub_settype(L, TYPE);
  b->link = ub_link_new(&c, &err);
  return b->link != NULL ? 1 : ub_pushfail(L, err, "redis");
}

/* l:close(); may be called twice, and is __gc and __close */
static int link_close (lua_State *L) {
  box *b = luaL_checkudata(L, 1, TYPE);
  ub_link *l = b->link;
  b->link = NULL;
  ub_link_free(l);
  return 0;
}

/* l:owned() -> is it open, and has it begun in this process? */
static int link_owned (lua_State *L) {
  box *b = luaL_checkudata(L, 1, TYPE);
  lua_pushboolean(L, b->link != NULL && ub_link_owned(b->link));
  return 1;
}

/* l:begin() -> true | nil, message, code */
static int link_begin (lua_State *L) {
  int err = ub_link_begin(check(L));
  if (err != UB_OK)
    return ub_pushfail(L, err, "redis");
  lua_pushboolean(L, 1);
  return 1;
}

/* l:descriptor() -> descriptor of this process, or nil */
static int link_descriptor (lua_State *L) {
  box *b = luaL_checkudata(L, 1, TYPE);
  int fd = b->link != NULL ? ub_link_fd(b->link) : -1;
  if (fd < 0)
    lua_pushnil(L);
  else
    ub_pushwhole(L, fd);
  return 1;
}

/* }======================================================================== */

/* {== Sending ============================================================= */

/* What is sent, word by word. */
typedef struct words {
  const char *word[5];
  size_t length[5];
  int count;
} words;

static void add (words *w, const char *word, size_t length) {
  w->word[w->count] = word;
  w->length[w->count++] = length;
}

/* The name of the key in Redis: 'name' has room for prefix and hash. */
static size_t name_of (const box *b, const ub_cache_key *key, char *name) {
  memcpy(name, b->prefix, b->prefix_length);
  ub_frame_name(key->bytes, key->length, key->space, name + b->prefix_length);
  return b->prefix_length + UB_FRAME_NAME;
}

static int pushsent (lua_State *L, int err, uint64_t id) {
  if (err != UB_OK)
    return ub_pushfail(L, err, "redis");
  ub_pushwhole(L, (int64_t)id);
  return 1;
}

static int send_words (lua_State *L, const box *b, const words *w, int waits) {
  uint64_t id = 0;
  int err = ub_link_send(b->link, w->count, w->word, w->length, waits, &id);
  return pushsent(L, err, id);
}

/* l:get(key), l:delete(key) -> id | nil, message, code */
static int send_about (lua_State *L, const char *verb, int waits) {
  const box *b = checkbox(L);
  ub_cache_key key = ub_checkkey(L, 2, KEY_META);
  char name[MOST_PREFIX + UB_FRAME_NAME + 1];
  words w = {{NULL}, {0}, 0};
  add(&w, verb, strlen(verb));
  add(&w, name, name_of(b, &key, name));
  return send_words(L, b, &w, waits);
}

static int link_get (lua_State *L) { return send_about(L, "GET", 1); }
static int link_delete (lua_State *L) { return send_about(L, "UNLINK", 0); }

/* The list of tags at 'index', written as a frame has them: how many bytes. */
static size_t read_tags (lua_State *L, int index, char *out) {
  size_t at = 0, count, i;
  if (lua_isnoneornil(L, index))
    return 0;
  luaL_checktype(L, index, LUA_TTABLE);
  count = lua_rawlen(L, index);
  luaL_argcheck(L, count <= UB_FRAME_TAGS, index, "16 tags at most expected");
  for (i = 1; i <= count; i++) {
    size_t length;
    const char *tag;
    lua_rawgeti(L, index, (int)i);
    luaL_argcheck(L, lua_type(L, -1) == LUA_TSTRING, index, "tags are strings");
    tag = lua_tolstring(L, -1, &length);
    luaL_argcheck(L, length <= UB_FRAME_TAG, index, "tags of 255 bytes at most expected");
    out[at++] = (char)length;
    memcpy(out + at, tag, length);
    at += length;
    lua_pop(L, 1);
  }
  return at;
}

/* Send a frame to be kept for 'life_ms'. */
static int send_frame (lua_State *L, const box *b, const ub_cache_key *key, const ub_frame *f,
                       int64_t life_ms) {
  size_t size = ub_frame_size(f);
  char name[MOST_PREFIX + UB_FRAME_NAME + 1], *bytes, life[24];
  words w = {{NULL}, {0}, 0};
  uint64_t id = 0;
  int err;
  if (size - UB_FRAME_HEAD > b->most_bytes)
    return ub_pushfail(L, UB_EINVALID, "redis");
  bytes = ub_alloc(size);
  if (bytes == NULL)
    return ub_pushfail(L, UB_ENOMEM, "redis");
  ub_frame_write(f, bytes);
  add(&w, "SET", 3);
  add(&w, name, name_of(b, key, name));
  add(&w, bytes, size);
  add(&w, "PX", 2);
  add(&w, life, (size_t)snprintf(life, sizeof life, "%lld", (long long)life_ms));
  err = ub_link_send(b->link, w.count, w.word, w.length, 0, &id);
  ub_free(bytes);
  return pushsent(L, err, id);
}

/*
** l:set(key, value, ttl, life, stored, tags or nil) -> id | nil, message, code: fresh for
** 'ttl' seconds since it was stored (wall time), and forgotten by Redis 'life' seconds
** from now. "invalid": longer than 'most'.
*/
static int link_set (lua_State *L) {
  const box *b = checkbox(L);
  ub_cache_key key = ub_checkkey(L, 2, KEY_META);
  char tags[UB_FRAME_TAGS * (UB_FRAME_TAG + 1)];
  int64_t life;
  ub_frame f;
  luaL_checktype(L, 3, LUA_TSTRING);
  f.value = lua_tolstring(L, 3, &f.length);
  f.ttl_us = ub_checkus(L, 4);
  life = ub_checkus(L, 5) / 1000;
  f.stored_us = ub_checkus(L, 6);
  f.tags = tags;
  f.tags_length = read_tags(L, 7, tags);
  f.key = key.bytes;
  f.key_length = key.length;
  f.space = key.space;
  luaL_argcheck(L, f.ttl_us >= 0, 4, "a time of at least 0 expected");
  return send_frame(L, b, &key, &f, life > 0 ? life : 1);
}

/* l:command{ word, … } -> id | nil, message, code */
static int link_command (lua_State *L) {
  const box *b = checkbox(L);
  size_t count, i, *lengths;
  const char **list;
  uint64_t id = 0;
  int err;
  luaL_checktype(L, 2, LUA_TTABLE);
  count = lua_rawlen(L, 2);
  luaL_argcheck(L, count >= 1 && count <= MOST_WORDS, 2, "1 to 65536 words expected");
  list = ub_newuserdata(L, count * sizeof *list);
  lengths = ub_newuserdata(L, count * sizeof *lengths);
  for (i = 0; i < count; i++) {
    lua_rawgeti(L, 2, (int)i + 1);
    luaL_argcheck(L, lua_type(L, -1) == LUA_TSTRING, 2, "a list of strings expected");
    list[i] = lua_tolstring(L, -1, &lengths[i]);  /* kept alive by the list */
    lua_pop(L, 1);
  }
  luaL_argcheck(L, b->link != NULL, 1, "the link is closed");  /* by a finalizer */
  err = ub_link_send(b->link, (int)count, list, lengths, 0, &id);
  return pushsent(L, err, id);
}

/* }======================================================================== */

/* {== Replies ============================================================= */

/* A reply that is being looked at: a finalizer may close the link meanwhile. */
typedef struct holder {
  redisReply *reply;
} holder;

static int holder_gc (lua_State *L) {
  holder *h = luaL_checkudata(L, 1, REPLY);
  ub_reply_free(h->reply);
  h->reply = NULL;
  return 0;
}

/* Push a holder, and take what became of request 'index' into it. */
static holder *take (lua_State *L, int index, ub_answer *answer) {
  uint64_t id = ub_checkticket(L, index);
  holder *h = ub_newuserdata(L, sizeof *h);
  box *b;
  h->reply = NULL;
  ub_settype(L, REPLY);
  b = checkbox(L);
  *answer = ub_link_take(b->link, id);
  h->reply = answer->ended ? answer->reply : NULL;
  return h;
}

/* Let go of the reply now, not at some collection. */
static void done (holder *h) {
  ub_reply_free(h->reply);
  h->reply = NULL;
}

/* Push nil and "late", or nil, "failed" and why; 0 when there is a reply. */
static int push_no_reply (lua_State *L, const ub_answer *answer) {
  if (answer->ended && answer->err == UB_OK)
    return 0;
  lua_pushnil(L);
  lua_pushstring(L, answer->ended ? "failed" : "late");
  if (!answer->ended)
    return 2;
  lua_pushstring(L, ub_err_word(answer->err));
  return 3;
}

/* Push nil, "error" and its kind for an error; 0 for another reply. */
static int push_error (lua_State *L, const redisReply *reply) {
  if (reply->type != REDIS_REPLY_ERROR)
    return 0;
  lua_pushnil(L);
  lua_pushliteral(L, "error");
  lua_pushstring(L, ub_reply_error(reply));
  return 3;
}

static int push_word (lua_State *L, const char *word) {
  lua_pushnil(L);
  lua_pushstring(L, word);
  return 2;
}

/* The tags as a list, or nil for none. */
static void push_tags (lua_State *L, const char *tags, size_t size) {
  size_t at = 0, length;
  const char *tag;
  int n = 0;
  if (size == 0) {
    lua_pushnil(L);
    return;
  }
  lua_newtable(L);
  while (ub_frame_tag(tags, size, &at, &tag, &length)) {
    lua_pushlstring(L, tag, length);
    lua_rawseti(L, -2, ++n);
  }
}

static int push_frame (lua_State *L, const redisReply *reply, const ub_cache_key *key) {
  ub_frame f;
  if (!ub_frame_read(reply->str, (size_t)reply->len, &f))
    return push_word(L, "torn");
  if (f.space != key->space || f.key_length != key->length ||
      memcmp(f.key, key->bytes, key->length) != 0)
    return push_word(L, "other");
  lua_pushlstring(L, f.value, f.length);
  lua_pushnumber(L, (double)f.stored_us / UB_SECOND_US);
  lua_pushnumber(L, (double)f.ttl_us / UB_SECOND_US);
  push_tags(L, f.tags, f.tags_length);
  return 4;
}

/*
** l:entry(id, key) -> value, stored, ttl, tags or nil
**   | nil, "miss" (there is none) | nil, "late" (no reply yet; it goes on)
**   | nil, "torn" (no whole frame) | nil, "other" (another key of the same name)
**   | nil, "nonsense" (no reply to a GET)
**   | nil, "error", kind (as Redis says it) | nil, "failed", code (there is no reply)
*/
static int link_entry (lua_State *L) {
  ub_cache_key key = ub_checkkey(L, 3, KEY_META);
  ub_answer answer;
  holder *h = take(L, 2, &answer);
  int n = push_no_reply(L, &answer);
  if (n > 0)
    return n;
  n = push_error(L, h->reply);
  if (n == 0 && h->reply->type == REDIS_REPLY_NIL)
    n = push_word(L, "miss");
  else if (n == 0 && h->reply->type != REDIS_REPLY_STRING)
    n = push_word(L, "nonsense");
  else if (n == 0)
    n = push_frame(L, h->reply, &key);
  done(h);
  return n;
}

/* The reply as a value: nil becomes false, a list a list of these. */
static void push_value (lua_State *L, const redisReply *reply, int depth) {
  size_t i;
  if (reply == NULL || depth == 0 || reply->type == REDIS_REPLY_NIL) {
    lua_pushboolean(L, 0);
  } else if (reply->type == REDIS_REPLY_INTEGER) {
    ub_pushwhole(L, (int64_t)reply->integer);
  } else if (reply->type == REDIS_REPLY_ARRAY) {
    luaL_checkstack(L, 4, "a reply in a reply");
    lua_createtable(L, (int)reply->elements, 0);
    for (i = 0; i < reply->elements; i++) {
      push_value(L, reply->element[i], depth - 1);
      lua_rawseti(L, -2, (int)i + 1);
    }
  } else {
    lua_pushlstring(L, reply->str, (size_t)reply->len);
  }
}

/* l:take(id) -> true, value | nil, "late" | nil, "error", kind | nil, "failed", code */
static int link_take (lua_State *L) {
  ub_answer answer;
  holder *h = take(L, 2, &answer);
  int n = push_no_reply(L, &answer);
  if (n > 0)
    return n;
  n = push_error(L, h->reply);
  if (n == 0) {
    lua_pushboolean(L, 1);
    push_value(L, h->reply, 8);
    n = 2;
  }
  done(h);
  return n;
}

/* l:forget(id) */
static int link_forget (lua_State *L) {
  ub_link_forget(check(L), ub_checkticket(L, 2));
  return 0;
}

/* core_redis.tags_of(beginning of a frame) -> bytes that it takes to have all, tags or nil */
static int tags_of (lua_State *L) {
  size_t length, size, needed;
  const char *tags, *bytes = luaL_checklstring(L, 1, &length);
  needed = ub_frame_tags(bytes, length, &tags, &size);
  ub_pushwhole(L, (int64_t)needed);
  if (needed > length)
    size = 0;
  push_tags(L, tags, size);
  return 2;
}

/* }======================================================================== */

/* {== Working ============================================================= */

/* l:step() */
static int link_step (lua_State *L) {
  ub_link_step(check(L));
  return 0;
}

/* l:next() -> id of a request that has ended, or nil */
static int link_next (lua_State *L) {
  uint64_t id = ub_link_next(check(L));
  if (id == 0)
    lua_pushnil(L);
  else
    ub_pushwhole(L, (int64_t)id);
  return 1;
}

/* l:drop(): end the connection, as if its time had run out */
static int link_drop (lua_State *L) {
  ub_link_drop(check(L), UB_ETIMEOUT);
  return 0;
}

/* l:lost() -> code, had it served? | nil */
static int link_lost (lua_State *L) {
  int served, err = ub_link_lost(check(L), &served);
  if (err == UB_OK) {
    lua_pushnil(L);
    return 1;
  }
  lua_pushstring(L, ub_err_word(err));
  lua_pushboolean(L, served);
  return 2;
}

/* l:look() -> requests without a reply, their bytes, seconds without a word, connected? */
static int link_look (lua_State *L) {
  ub_link_state s = ub_link_look(check(L));
  ub_pushwhole(L, s.waiting);
  ub_pushwhole(L, (int64_t)s.bytes);
  lua_pushnumber(L, (double)s.silent_us / UB_SECOND_US);
  lua_pushboolean(L, s.connected);
  return 4;
}

/* core_redis.stats() -> { blocks =, links =, descriptors = } */
static int stats (lua_State *L) {
  ub_link_totals totals = ub_link_count();
  lua_newtable(L);
  ub_setwhole(L, "blocks", ub_alloc_live());
  ub_setwhole(L, "links", totals.links);
  ub_setwhole(L, "descriptors", totals.descriptors);
  return 1;
}

/* core_redis.fail_alloc(n) -> what was left of the last one: see base/alloc.h */
static int fail_alloc (lua_State *L) {
  int64_t n = (int64_t)luaL_checknumber(L, 1);
  luaL_argcheck(L, n >= 0, 1, "a count expected");
  ub_pushwhole(L, ub_alloc_fail_at(n));
  return 1;
}

/* }======================================================================== */

__attribute__((visibility("default"))) int luaopen_unbusy_core_redis (lua_State *L);

int luaopen_unbusy_core_redis (lua_State *L) {
  static const luaL_Reg methods[] = {
    {"owned", link_owned}, {"begin", link_begin}, {"descriptor", link_descriptor},
    {"command", link_command}, {"take", link_take}, {"forget", link_forget},
    {"step", link_step}, {"next", link_next}, {"drop", link_drop}, {"lost", link_lost},
    {"look", link_look}, {"close", link_close}, {NULL, NULL}
  };
  static const luaL_Reg about[] = {
    {"get", link_get}, {"set", link_set}, {"delete", link_delete}, {"entry", link_entry},
    {NULL, NULL}
  };
  static const luaL_Reg meta[] = {{"__gc", link_close}, {"__close", link_close}, {NULL, NULL}};
  static const luaL_Reg holder_meta[] = {{"__gc", holder_gc}, {NULL, NULL}};
  static const luaL_Reg none[] = {{NULL, NULL}};
  static const luaL_Reg functions[] = {
    {"link", link_new}, {"tags_of", tags_of}, {"stats", stats}, {"fail_alloc", fail_alloc},
    {NULL, NULL}
  };
  ub_newtype(L, TYPE, methods, meta);
  ub_addmethods(L, TYPE, UB_KEY_TYPE, about);
  ub_newtype(L, REPLY, none, holder_meta);
  lua_newtable(L);
  luaL_setfuncs(L, functions, 0);
  return 1;
}
