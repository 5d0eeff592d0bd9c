/*
** lua_topk.c: the binding of topk.h.
*/
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/err.h"
#include "lua/lua_key.h"
#include "lua/lua_shared.h"
#include "parts/topk.h"

#define TYPE    "unbusy.topk"
#define SHARED  "unbusy.shared_topk"

typedef struct box {
  ub_topk *topk;  /* NULL: closed */
} box;

static ub_self check (lua_State *L) {
  ub_self self = ub_checkeither(L, TYPE, SHARED);
  if (self.shared == NULL) {  /* the machine lies outside of the userdata */
    self.machine = ((box *)self.machine)->topk;
    luaL_argcheck(L, self.machine != NULL, 1, "the topk is closed");
  }
  return self;
}

/* Its room is gone, and there is none for another (see 'ub_shared_enter'). */
static int pushlost (lua_State *L) {
  return ub_pushfail(L, UB_EFULL, "topk");
}

/* All of it but the seed. */
static void checkconfig (lua_State *L, ub_topk_config *config) {
  int64_t counters = ub_fieldwhole(L, 1, "counters");
  int64_t key_bytes = ub_fieldwhole(L, 1, "key_bytes");
  double note_bytes = ub_optfieldnumber(L, 1, "note_bytes", 0);
  memset(config, 0, sizeof *config);
  config->half_life_us = ub_optfieldus(L, 1, "half_life", 0);
  luaL_argcheck(L, counters >= 1 && counters <= UB_TOPK_MOST, 1, "counters out of range");
  luaL_argcheck(L, key_bytes >= 1 && key_bytes <= UB_TOPK_MOST_KEY, 1, "key_bytes out of range");
  luaL_argcheck(L, note_bytes >= 0 && note_bytes <= UB_TOPK_MOST_KEY, 1,
                "note_bytes out of range");
  luaL_argcheck(L, config->half_life_us == 0 || config->half_life_us >= 1000, 1,
                "half_life out of range");
  config->counters = (uint32_t)counters;
  config->key_bytes = (uint32_t)key_bytes;
  config->note_bytes = (uint32_t)note_bytes;
}

/*
** core.topk(options, now or nil) -> topk | nil, message, code
** core.topk(options, now or nil, region, name) -> topk | nil, message, code
*/
static int topk_new (lua_State *L) {
  ub_topk_config config;
  int64_t now = ub_optnow(L, 2);
  uint64_t layout;
  box *b;
  luaL_checktype(L, 1, LUA_TTABLE);
  checkconfig(L, &config);
  layout = ub_layout(&config, sizeof config);
  config.seed = ub_fieldseed(L, 1);
  if (!lua_isnoneornil(L, 3))
    return ub_pushshared(L, SHARED, &ub_topk_part, layout, &config, sizeof config, now);
  b = ub_newuserdata(L, sizeof *b);
  b->topk = NULL;  /* closed first, so that __gc can treat it */
  ub_settype(L, TYPE);
  b->topk = ub_alloc(ub_topk_size(&config));
  if (b->topk == NULL)
    return ub_pushfail(L, UB_ENOMEM, "topk");
  ub_topk_init(b->topk, &config, now);
  return 1;
}

/* The key argument: a key, or a string. It points into the argument. */
static ub_topk_key checkkey (lua_State *L) {
  ub_cache_key key;
  luaL_getmetatable(L, UB_KEY_TYPE);
  key = ub_checkkey(L, 2, lua_gettop(L));
  lua_pop(L, 1);
  return (ub_topk_key){key.bytes, key.length, key.space};
}

/* A number of times or of entries: whole and above 0; more than 2^53 is 2^53. */
static uint64_t checktimes (lua_State *L, int index) {
  double n = luaL_checknumber(L, index);
  luaL_argcheck(L, n >= 1 && n == floor(n) && n - n == 0, index,
                "whole number above 0 expected");
  return n < (double)UB_TOPK_END ? (uint64_t)n : UB_TOPK_END;
}

#define NO_TIME  INT64_MIN

/* The time argument, or NO_TIME: only a list that decays needs one. */
static int64_t opttime (lua_State *L, int index) {
  return lua_isnoneornil(L, index) ? NO_TIME : ub_checkus(L, index);
}

static int64_t time_of (const ub_topk *t, int64_t given) {
  if (t->config.half_life_us == 0)
    return 0;
  return given == NO_TIME ? ub_clock_us() : given;
}

/* t:add(key, n or nil, now or nil) -> is a note wanted? */
static int topk_add (lua_State *L) {
  ub_self self = check(L);
  uint64_t n = lua_isnoneornil(L, 3) ? 1 : checktimes(L, 3);
  int64_t now = opttime(L, 4);
  ub_topk_key key = checkkey(L);
  ub_topk *t = ub_enter(&self);
  int wanted;
  if (t == NULL)
    return pushlost(L);
  wanted = ub_topk_add(t, &key, n, time_of(t, now));
  ub_leave(&self);
  lua_pushboolean(L, wanted);
  return 1;
}

/* t:note(key, text) -> was it kept? */
static int topk_note (lua_State *L) {
  size_t length;
  const char *text = luaL_checklstring(L, 3, &length);
  ub_self self = check(L);  /* a number has become a string: finalizers may have run */
  ub_topk_key key = checkkey(L);
  ub_topk *t = ub_enter(&self);
  int kept;
  if (t == NULL)
    return pushlost(L);
  kept = ub_topk_note(t, &key, text, length);
  ub_leave(&self);
  lua_pushboolean(L, kept);
  return 1;
}

/* table[name] = count: whole where nothing decays. */
static void setcount (lua_State *L, const char *name, double count) {
  if (count == floor(count))
    ub_setwhole(L, name, (int64_t)count);
  else
    ub_setnumber(L, name, count);
}

/* What is said besides, to the table on top. */
static void addmore (lua_State *L, const ub_topk_entry *e) {
  char mark[17];
  snprintf(mark, sizeof mark, "%016llx", (unsigned long long)e->mark);
  lua_pushlstring(L, mark, sizeof mark - 1);
  lua_setfield(L, -2, "hash");
  if (e->note != NULL) {
    lua_pushlstring(L, e->note, e->note_length);
    lua_setfield(L, -2, "note");
  }
}

static void pushentry (lua_State *L, const ub_topk_entry *e) {
  lua_createtable(L, 0, 5);
  lua_pushlstring(L, e->key, e->length);
  lua_setfield(L, -2, "key");
  setcount(L, "count", e->count);
  setcount(L, "error", e->error);
  if (e->cut) {
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, "cut");
  }
}

/* What 'top' shows, with the bytes of keys and notes: a copy, for the list goes on without us. */
typedef struct copies {
  uint32_t *order;         /* room for as many as are wanted */
  ub_topk_entry *entries;
  char *keys;              /* 'key_bytes' for each */
  char *notes;             /* 'note_bytes' for each; NULL: no more is wanted */
} copies;

/* Room for the copies of n entries, in a userdata left on the stack. (Its configuration is a copy:
   a finalizer may close the list meanwhile.) */
static copies make_room (lua_State *L, uint32_t n, ub_topk_config config, int notes) {
  size_t each = sizeof(ub_topk_entry) + sizeof(uint32_t) + config.key_bytes;
  copies room;
  room.entries = ub_newuserdata(L, n * (each + (notes ? config.note_bytes : 0)));
  room.order = (uint32_t *)(room.entries + n);
  room.keys = (char *)(room.order + n);
  room.notes = notes ? room.keys + (size_t)n * config.key_bytes : NULL;
  return room;
}

static void copy_entry (const ub_topk *t, const copies *room, uint32_t i) {
  ub_topk_entry *e = &room->entries[i];
  char *key = room->keys + (size_t)i * t->config.key_bytes;
  *e = ub_topk_get(t, room->order[i]);
  memcpy(key, e->key, e->length);
  e->key = key;
  if (e->note != NULL && room->notes != NULL) {
    char *note = room->notes + (size_t)i * t->config.note_bytes;
    memcpy(note, e->note, e->note_length);
    e->note = note;
  }
  else
    e->note = NULL;
}

static uint32_t copy_top (const ub_topk *t, const copies *room, uint32_t n) {
  uint32_t i, count = ub_topk_top(t, room->order, n);
  for (i = 0; i < count; i++)
    copy_entry(t, room, i);
  return count;
}

/* t:top(n or nil, more or nil, now or nil) -> { { key =, count =, error =, cut = true or nil,
   with more: hash =, note = or nil }, … } */
static int topk_top (lua_State *L) {
  ub_self self = check(L);
  uint64_t wanted = lua_isnoneornil(L, 2) ? UB_TOPK_MOST : checktimes(L, 2);
  int more = lua_toboolean(L, 3);
  int64_t now = opttime(L, 4);
  ub_topk head, *list;
  const ub_topk *t = ub_look(&self, &head, sizeof head);
  uint32_t i, n;
  copies room;
  if (t == NULL)
    return pushlost(L);
  n = wanted < t->used ? (uint32_t)wanted : t->used;
  room = make_room(L, n, t->config, more);
  self = check(L);  /* a finalizer may have closed it meanwhile */
  if ((list = ub_enter(&self)) == NULL)
    return pushlost(L);
  ub_topk_move(list, time_of(list, now));
  n = copy_top(list, &room, n);
  ub_leave(&self);
  lua_createtable(L, (int)n, 0);
  for (i = 0; i < n; i++) {
    pushentry(L, &room.entries[i]);
    if (more)
      addmore(L, &room.entries[i]);
    lua_rawseti(L, -2, (int)i + 1);
  }
  return 1;
}

/* t:stats(now or nil) -> table */
static int topk_stats (lua_State *L) {
  ub_self self = check(L);
  int64_t now = opttime(L, 2);
  ub_topk *t = ub_enter(&self);
  ub_topk copy;
  double least;
  if (t == NULL)
    return pushlost(L);
  ub_topk_move(t, time_of(t, now));
  copy = *t;
  least = ub_topk_least(t);
  ub_leave(&self);
  lua_newtable(L);
  ub_setwhole(L, "counters", copy.config.counters);
  ub_setwhole(L, "used", copy.used);
  setcount(L, "total", ub_topk_total(&copy));
  setcount(L, "least", least);
  ub_setwhole(L, "replaced", (int64_t)(copy.arrivals - copy.used));
  ub_setwhole(L, "bytes", (int64_t)ub_topk_size(&copy.config));
  return 1;
}

/* t:clear() */
static int topk_clear (lua_State *L) {
  ub_self self = check(L);
  ub_topk *t = ub_enter(&self);
  if (t == NULL)
    return pushlost(L);
  ub_topk_clear(t);
  ub_leave(&self);
  return 0;
}

/* t:close() of a shared one: the others go on with it */
static int topk_leave (lua_State *L) {
  ub_closeshared(L, SHARED);
  return 0;
}

/* t:close(); may be called twice, and is __gc and __close */
static int topk_close (lua_State *L) {
  box *b = luaL_checkudata(L, 1, TYPE);
  ub_free(b->topk);
  b->topk = NULL;
  return 0;
}

void ub_open_topk (lua_State *L) {
  static const luaL_Reg methods[] = {
    {"add", topk_add}, {"note", topk_note}, {"top", topk_top}, {"stats", topk_stats},
    {"clear", topk_clear}, {"close", topk_close}, {NULL, NULL}
  };
  static const luaL_Reg shared[] = {
    {"add", topk_add}, {"note", topk_note}, {"top", topk_top}, {"stats", topk_stats},
    {"clear", topk_clear}, {"close", topk_leave}, {NULL, NULL}
  };
  static const luaL_Reg meta[] = {{"__gc", topk_close}, {"__close", topk_close}, {NULL, NULL}};
  ub_newtype(L, TYPE, methods, meta);
  ub_newshared(L, SHARED, &ub_topk_part, shared);
  lua_pushcfunction(L, topk_new);
  lua_setfield(L, -2, "topk");
}
