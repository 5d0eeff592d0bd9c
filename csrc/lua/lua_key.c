/*
** lua_key.c: the binding of key.h: keys from pieces.
**
** The key of one string is that string as it is, in a space of its own. Any
** other key is what key.h makes of its pieces.
**
** Nothing between the first byte and the last may run the collector: a
** finalizer could make a key too, or change the table that is being read. So
** the walk calls only what never allocates, names and marks it compares with
** are upvalues, and the buffers belong to a userdata made long before.
*/
#include "lua/lua_key.h"

#include <float.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/hash.h"
#include "parts/key.h"

#define DEPTH 128  /* as unbusy.json */

/* Upvalues of the functions that make keys. */
#define META  lua_upvalueindex(1)  /* the metatable of keys */
#define MAKER lua_upvalueindex(2)  /* a maker's userdata */
#define FIELD lua_upvalueindex(3)  /* "__metatable" */
#define ARRAY lua_upvalueindex(4)  /* what that field says of an array */

enum { STRING_SPACE, PIECES_SPACE };

typedef struct key {
  size_t length;
  uint32_t space;
  char bytes[];
} key;

typedef struct maker {
  ub_key_maker k;
  int busy;  /* from claim to release; also when it was left by an error */
} maker;

typedef struct walk {
  lua_State *L;
  ub_key_maker *k;
  int without;       /* index of the table of names to leave out; 0: none */
  const char *what;  /* that JSON could not say; NULL: it failed otherwise */
  const char *kind;  /* or the type of a value */
} walk;

/* {== Makers ============================================================== */

#define MAKER_TYPE "unbusy.key_maker"

static int maker_gc (lua_State *L) {
  maker *m = luaL_checkudata(L, 1, MAKER_TYPE);
  ub_key_fini(&m->k);
  return 0;
}

static maker *newmaker (lua_State *L) {
  maker *m = ub_newuserdata(L, sizeof *m);
  ub_key_init(&m->k);
  m->busy = 0;
  ub_settype(L, MAKER_TYPE);
  return m;
}

/*
** The maker to use, left on the stack. One that is busy is in use further up
** (we are in a finalizer) or was left by an error: another takes its place,
** and it goes when nobody holds it.
*/
static maker *claim (lua_State *L) {
  maker *m = lua_touserdata(L, MAKER);
  if (m->busy) {
    m = newmaker(L);
    lua_replace(L, MAKER);
  }
  lua_pushvalue(L, MAKER);
  m->busy = 1;
  return m;
}

static void release (maker *m) {
  ub_key_fini(&m->k);
  m->busy = 0;
}

/* }======================================================================== */

/* {== The walk ============================================================ */

static int value (walk *w, int depth);

static int wrong (walk *w, const char *what) {
  w->what = what;
  return UB_EINVALID;
}

static int add_string (walk *w) {
  size_t length;
  const char *bytes = lua_tolstring(w->L, -1, &length);
  return ub_key_string(w->k, bytes, length);
}

static int add_number (walk *w) {
  double n = lua_tonumber(w->L, -1);
#if LUA_VERSION_NUM >= 503
  if (lua_isinteger(w->L, -1))
    return ub_key_integer(w->k, lua_tointeger(w->L, -1));
#endif
  if (!(n >= -DBL_MAX && n <= DBL_MAX))
    return wrong(w, "not a finite number");
  return ub_key_number(w->k, n);
}

/* A table without anything in it, at the top: a list when it is marked as one. */
static int add_empty (walk *w) {
  lua_State *L = w->L;
  int err, marked = 0;
  size_t mark;
  if (lua_getmetatable(L, -1)) {
    lua_pushvalue(L, FIELD);
    lua_rawget(L, -2);
    marked = lua_rawequal(L, -1, ARRAY);
    lua_pop(L, 2);
  }
  err = marked ? ub_key_list(w->k) : ub_key_object(w->k, &mark);
  if (err != UB_OK)
    return err;
  return marked ? ub_key_end_list(w->k) : ub_key_end_object(w->k, mark);
}

/* Is the name below the top left out? */
static int is_left_out (const walk *w) {
  int out;
  lua_pushvalue(w->L, -2);
  lua_rawget(w->L, w->without);
  out = lua_toboolean(w->L, -1);
  lua_pop(w->L, 1);
  return out;
}

/* The key of this type stands among keys of another, or cannot be a name at all. */
static int wrong_key (walk *w, int type) {
  if (type == LUA_TSTRING || type == LUA_TNUMBER)
    return wrong(w, "a table with names and numbers as keys");
  return wrong(w, type == LUA_TBOOLEAN ? "a table with a boolean as a key"
                                       : "a table with an object as a key");
}

static int add_member (walk *w, size_t mark, int depth) {
  size_t length;
  const char *name;
  int err;
  if (lua_type(w->L, -2) != LUA_TSTRING)
    return wrong_key(w, lua_type(w->L, -2));
  if (depth == 1 && w->without != 0 && is_left_out(w))
    return UB_OK;
  name = lua_tolstring(w->L, -2, &length);
  err = ub_key_name(w->k, mark, name, length);
  return err != UB_OK ? err : value(w, depth);
}

/* The table under its first name and value, which are on top. */
static int add_object (walk *w, int depth) {
  size_t mark;
  int err = ub_key_object(w->k, &mark);
  if (err != UB_OK)
    return err;
  do {
    err = add_member(w, mark, depth);
    if (err != UB_OK)
      return err;
    lua_pop(w->L, 1);
  } while (lua_next(w->L, -2));
  return ub_key_end_object(w->k, mark);
}

/* The number on top as an index of a list; 0 when it is none. */
static int index_on_top (lua_State *L) {
  double i = lua_tonumber(L, -1);
  return i >= 1 && i <= INT_MAX && i == (int)i ? (int)i : 0;
}

/* How many items the list on top has, when it is one. */
static int count_items (walk *w, int *count) {
  lua_State *L = w->L;
  int last = 0;
  *count = 0;
  for (lua_pushnil(L); lua_next(L, -2); (*count)++) {
    int i;
    lua_pop(L, 1);
    if (lua_type(L, -1) != LUA_TNUMBER)
      return wrong_key(w, lua_type(L, -1));
    i = index_on_top(L);
    if (i == 0)
      return wrong(w, "a table with a number below 1 or not whole as a key");
    last = i > last ? i : last;
  }
  return last == *count ? UB_OK : wrong(w, "a list with holes");
}

static int add_list (walk *w, int depth) {
  int i, count, err = count_items(w, &count);
  if (err == UB_OK)
    err = ub_key_list(w->k);
  for (i = 1; err == UB_OK && i <= count; i++) {
    lua_rawgeti(w->L, -1, i);
    err = value(w, depth);
    if (err == UB_OK)
      lua_pop(w->L, 1);
  }
  return err != UB_OK ? err : ub_key_end_list(w->k);
}

static int add_table (walk *w, int depth) {
  lua_State *L = w->L;
  if (depth > DEPTH)
    return wrong(w, "nested deeper than 128 (a table inside itself?)");
  if (!lua_checkstack(L, 6))
    return UB_ENOMEM;
  lua_pushnil(L);
  if (!lua_next(L, -2))
    return add_empty(w);
  if (lua_type(L, -2) != LUA_TNUMBER)
    return add_object(w, depth);
  lua_pop(L, 2);
  return add_list(w, depth);
}

/* Add the value on top, which stays there; after a failure there may be more on it. */
static int value (walk *w, int depth) {
  int type = lua_type(w->L, -1);
  switch (type) {
    case LUA_TSTRING: return add_string(w);
    case LUA_TNUMBER: return add_number(w);
    case LUA_TBOOLEAN: return ub_key_boolean(w->k, lua_toboolean(w->L, -1));
    case LUA_TTABLE: return add_table(w, depth + 1);
    case LUA_TLIGHTUSERDATA:
      if (lua_touserdata(w->L, -1) == NULL)  /* what lua-cjson calls null */
        return ub_key_null(w->k);
  }
  if (type == LUA_TNIL)
    return wrong(w, "nil");
  w->kind = lua_typename(w->L, type);
  return UB_EINVALID;
}

/* }======================================================================== */

/* {== Keys ================================================================ */

/* Push a key with room for 'length' bytes, without its metatable. */
static key *newkey (lua_State *L, uint32_t space, size_t length) {
  key *k = ub_newuserdata(L, sizeof *k + length);
  k->length = length;
  k->space = space;
  return k;
}

/* Give the key on top its metatable: it is whole now. */
static int arm (lua_State *L) {
  lua_pushvalue(L, META);
  lua_setmetatable(L, -2);
  return 1;
}

static int string_key (lua_State *L, int index) {
  size_t length;
  const char *bytes = lua_tolstring(L, index, &length);
  key *k = newkey(L, STRING_SPACE, length);
  memcpy(k->bytes, bytes, length);
  return arm(L);
}

static int pushwrong (lua_State *L, int err, const walk *w, int piece) {
  if (err == UB_ENOMEM)
    return ub_pushfail(L, err, "key");
  lua_pushnil(L);
  if (err == UB_EFULL)
    lua_pushstring(L, "key: more than 64 MiB");
  else if (w->what != NULL)
    lua_pushfstring(L, "key: piece %d: %s", piece, w->what);
  else
    lua_pushfstring(L, "key: piece %d: a %s", piece, w->kind);
  lua_pushstring(L, ub_err_word(UB_EINVALID));
  return 3;
}

/* Add the arguments 'first' to 'last'; of a string no more than 'most' bytes. Gives the last
   one that was added in '*at'. */
static int add_pieces (walk *w, int first, int last, size_t most, int *at) {
  int err = UB_OK;
  for (*at = first; err == UB_OK && *at <= last; (*at)++) {
    size_t length = 0;
    const char *bytes = lua_type(w->L, *at) == LUA_TSTRING ? lua_tolstring(w->L, *at, &length)
                                                           : NULL;
    lua_settop(w->L, last + 1);
    lua_pushvalue(w->L, *at);
    err = length > most ? ub_key_string(w->k, bytes, most) : value(w, 0);
  }
  return err;
}

/* Make the key of the arguments from 'first' on. */
static int make (lua_State *L, int without, int first) {
  int i, err, last = lua_gettop(L);
  walk w = {L, NULL, without, NULL, NULL};
  maker *m;
  key *k;
  luaL_argcheck(L, last >= first, first, "a piece expected, got no value");
  if (last == first && lua_type(L, first) == LUA_TSTRING)
    return string_key(L, first);
  m = claim(L);
  w.k = &m->k;
  err = add_pieces(&w, first, last, SIZE_MAX, &i);
  if (err != UB_OK) {
    release(m);
    lua_settop(L, last + 1);
    return pushwrong(L, err, &w, i - first);
  }
  k = newkey(L, PIECES_SPACE, ub_buf_length(&m->k.out));  /* finalizers may run: still busy */
  memcpy(k->bytes, ub_buf_bytes(&m->k.out), k->length);
  release(m);
  return arm(L);
}

/* core.key(piece, …) -> key | nil, message, code */
static int key_new (lua_State *L) {
  return make(L, 0, 1);
}

/* core.key_without({ name = true, … }, piece, …) -> key | nil, message, code */
static int key_without (lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_argcheck(L, lua_rawlen(L, 1) == 0, 1, "names expected (name = true), got a list");
  return make(L, 1, 2);
}

/* core.key_hash(most, piece, …) -> whole number under 2^52 | nil, message, code */
static int key_hash (lua_State *L) {
  double most = luaL_checknumber(L, 1);
  int i, err, last = lua_gettop(L);
  walk w = {L, NULL, 0, NULL, NULL};
  maker *m;
  uint64_t hash = 0;
  luaL_argcheck(L, most >= 0 && most <= UB_KEY_MOST_BYTES, 1, "a number of bytes expected");
  luaL_argcheck(L, last >= 2, 2, "a piece expected, got no value");
  m = claim(L);
  w.k = &m->k;
  err = add_pieces(&w, 2, last, (size_t)most, &i);
  if (err == UB_OK)  /* without a seed: the same in all processes, today and tomorrow */
    hash = ub_hash(ub_buf_bytes(&m->k.out), ub_buf_length(&m->k.out), 0);
  release(m);
  if (err != UB_OK) {
    lua_settop(L, last + 1);
    return pushwrong(L, err, &w, i - 2);
  }
  ub_pushwhole(L, (int64_t)(hash >> 12));
  return 1;
}

static key *checktype (lua_State *L, int index) {
  return luaL_checkudata(L, index, UB_KEY_TYPE);
}

ub_cache_key ub_checkkey (lua_State *L, int index, int meta) {
  ub_cache_key out;
  const key *k = ub_testmeta(L, index, meta);
  if (k == NULL) {
    if (lua_type(L, index) != LUA_TSTRING)
      luaL_argerror(L, index, lua_pushfstring(L, "key or string expected, got %s",
                                              luaL_typename(L, index)));
    out.bytes = lua_tolstring(L, index, &out.length);
    out.space = STRING_SPACE;
    return out;
  }
  out.bytes = k->bytes;
  out.length = k->length;
  out.space = k->space;
  return out;
}

/* a == b: Lua calls it for two userdata of which one is a key */
static int key_eq (lua_State *L) {
  const key *a = luaL_testudata(L, 1, UB_KEY_TYPE), *b = luaL_testudata(L, 2, UB_KEY_TYPE);
  lua_pushboolean(L, a != NULL && b != NULL && a->space == b->space && a->length == b->length
                     && memcmp(a->bytes, b->bytes, a->length) == 0);
  return 1;
}

/* #key -> bytes */
static int key_len (lua_State *L) {
  ub_pushwhole(L, (int64_t)checktype(L, 1)->length);
  return 1;
}

/* tostring(key): a hash and a length, never what is in it */
static int key_tostring (lua_State *L) {
  const key *k = checktype(L, 1);
  uint64_t hash = ub_hash(k->bytes, k->length, k->space);
  char text[64];
  snprintf(text, sizeof text, UB_KEY_TYPE ": %016llx, %zu bytes", (unsigned long long)hash,
           k->length);
  lua_pushstring(L, text);
  return 1;
}

/* {-- Keys as one string ----------------------------------------------------- */

static const char marks[] = {'s', 'p'};  /* in the order of the spaces */

char ub_key_mark (uint32_t space) {
  return space <= PIECES_SPACE ? marks[space] : '?';
}

/* core.key_bytes(key) -> string, from which 'key_of_bytes' makes it again */
static int key_bytes (lua_State *L) {
  ub_cache_key k = ub_checkkey(L, 1, META);
  luaL_Buffer b;
  luaL_buffinit(L, &b);
  luaL_addchar(&b, ub_key_mark(k.space));
  luaL_addlstring(&b, k.bytes, k.length);
  luaL_pushresult(&b);
  return 1;
}

/* core.key_of_bytes(string) -> key | nil, message, code */
static int key_of_bytes (lua_State *L) {
  size_t length;
  const char *bytes, *mark;
  key *k;
  luaL_checktype(L, 1, LUA_TSTRING);
  bytes = lua_tolstring(L, 1, &length);
  mark = length > 0 ? memchr(marks, bytes[0], sizeof marks) : NULL;
  if (mark == NULL) {
    lua_pushnil(L);
    lua_pushstring(L, "key: these are no bytes of a key");
    lua_pushstring(L, ub_err_word(UB_EINVALID));
    return 3;
  }
  k = newkey(L, (uint32_t)(mark - marks), length - 1);
  memcpy(k->bytes, bytes + 1, length - 1);
  return arm(L);
}

/* }--------------------------------------------------------------------------- */

/* }======================================================================== */

/* Set field 'name' of the module on top to 'f' with the upvalues above. */
static void export (lua_State *L, const char *name, lua_CFunction f) {
  luaL_getmetatable(L, UB_KEY_TYPE);
  newmaker(L);
  lua_pushstring(L, "__metatable");
  lua_pushstring(L, "unbusy.array");
  lua_pushcclosure(L, f, 4);
  lua_setfield(L, -2, name);
}

void ub_open_key (lua_State *L) {
  static const luaL_Reg none[] = {{NULL, NULL}};
  static const luaL_Reg meta[] = {
    {"__eq", key_eq}, {"__len", key_len}, {"__tostring", key_tostring}, {NULL, NULL}
  };
  static const luaL_Reg maker_meta[] = {{"__gc", maker_gc}, {NULL, NULL}};
  ub_newtype(L, UB_KEY_TYPE, none, meta);
  ub_newtype(L, MAKER_TYPE, none, maker_meta);
  export(L, "key", key_new);
  export(L, "key_without", key_without);
  export(L, "key_hash", key_hash);
  export(L, "key_bytes", key_bytes);
  export(L, "key_of_bytes", key_of_bytes);
}
