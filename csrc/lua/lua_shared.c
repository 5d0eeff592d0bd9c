/*
** lua_shared.c: what the bindings of shared parts have in common.
*/
#include "lua/lua_shared.h"

#include <stdio.h>

#include "base/err.h"
#include "base/hash.h"
#include "lua/lua_region.h"

typedef struct box {
  ub_shared *part;
} box;

ub_self ub_checkeither (lua_State *L, const char *type, const char *shared) {
  box *b;
  if (!lua_toboolean(L, lua_upvalueindex(UB_SHARED_UPVALUE)))
    return (ub_self){.machine = ub_checkself(L, type)};
  b = ub_checkself(L, shared);
  if (b->part == NULL)
    luaL_error(L, "%s: it is closed", shared);
  return (ub_self){.shared = b->part};
}

ub_self ub_toshared (lua_State *L, int index) {
  return (ub_self){.shared = ((box *)lua_touserdata(L, index))->part};
}

ub_shared *const *ub_sharedplace (lua_State *L, int index) {
  return &((box *)lua_touserdata(L, index))->part;
}

const void *ub_look (const ub_self *self, void *room, size_t bytes) {
  if (self->shared == NULL)
    return self->machine;
  return ub_shared_look(self->shared, room, bytes) ? room : NULL;
}

uint64_t ub_layout (const void *config, size_t bytes) {
  return ub_hash(config, bytes, 0);
}

/* There is no room for the part: how much it takes. */
static int pushfull (lua_State *L, const ub_part_type *type, const void *config) {
  char text[96];
  snprintf(text, sizeof text, "region: no room for a %.8s of %llu bytes", type->kind,
           (unsigned long long)type->size(config));
  lua_pushnil(L);
  lua_pushstring(L, text);
  lua_pushstring(L, ub_err_word(UB_EFULL));
  return 3;
}

int ub_pushshared (lua_State *L, const char *shared, const ub_part_type *type,
                   uint64_t layout, const void *config, size_t bytes, int64_t now_us) {
  size_t length;
  const char *name = luaL_checklstring(L, 4, &length);
  ub_region *r;
  box *b;
  int err;
  luaL_argcheck(L, length >= 1 && length <= UB_PART_NAME, 4, "1 to 255 bytes expected");
  b = ub_newholder(L, sizeof *b);
  b->part = NULL;
  ub_settype(L, shared);
  r = ub_checkregion(L, 3);  /* now: a finalizer may have closed it */
  b->part = ub_region_part(r, type, name, length, layout, config, bytes, now_us, &err);
  if (b->part != NULL)
    return 1;
  return err == UB_EFULL ? pushfull(L, type, config) : ub_pushfail(L, err, "region");
}

static void close_box (box *b) {
  if (b->part != NULL)
    ub_shared_close(b->part);
  b->part = NULL;
}

void ub_closeshared (lua_State *L, const char *shared) {
  close_box(luaL_checkudata(L, 1, shared));
}

static int shared_gc (lua_State *L) {
  close_box(lua_touserdata(L, 1));
  return 0;
}

static void push_other (lua_State *L, const char *other) {
  if (other != NULL)
    luaL_getmetatable(L, other);
  else
    lua_pushnil(L);
}

void ub_newsharedwith (lua_State *L, const char *shared, const ub_part_type *type,
                       const luaL_Reg *methods, const char *other) {
  static const luaL_Reg none[] = {{NULL, NULL}}, meta[] = {{"__gc", shared_gc}, {NULL, NULL}};
  ub_part_type_add(type);
  ub_newtype(L, shared, none, meta);
  luaL_getmetatable(L, shared);
  lua_getfield(L, -1, "__index");
  for (; methods->name != NULL; methods++) {
    lua_pushvalue(L, -2);
    push_other(L, other);
    lua_pushnil(L);
    lua_pushnil(L);
    lua_pushboolean(L, 1);
    lua_pushcclosure(L, methods->func, UB_SHARED_UPVALUE);
    lua_setfield(L, -2, methods->name);
  }
  lua_pop(L, 2);
}

void ub_newshared (lua_State *L, const char *shared, const ub_part_type *type,
                   const luaL_Reg *methods) {
  ub_newsharedwith(L, shared, type, methods, NULL);
}
