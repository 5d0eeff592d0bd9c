/*
** lua_shared.h: parts that live in a region, by the methods of private ones.
**
** A part's method is written once and serves both. To bring a part into regions:
**
**   1. csrc/parts/x.[ch]: a 'ub_part_type' (region.h), which says what of the
**      machine is its head (all that an operation changes and that is not
**      undone otherwise), how to mend the rest, what a dead process gives back.
**      Add its kind's name to no list: 'ub_newshared' makes it known.
**   2. csrc/lua/lua_x.c: 'core.x' ends with
**        if (lua_isuserdata(L, 3))    -- core.x(options, now, region, name)
**          return ub_pushshared(L, SHARED, &ub_x_part, layout, &config, sizeof config, now);
**      where 'layout' is 'ub_layout' of the config with everything in it that
**      may differ between processes (the seed) set to 0. Each method is
**        ub_self self = ub_checkeither(L, TYPE, SHARED);
**        … all arguments are read here, since they may raise …
**        ub_x *x = ub_enter(&self);
**        if (x == NULL) return ub_pushfail(L, UB_EFULL, "x");
**        … call …
**        ub_leave(&self);
**        … push the results, since that may raise …
**      One that only reads the head may use 'ub_look' instead: mostly no lock.
**      'ub_open_x' calls 'ub_newshared' with the same list of methods.
**   3. lua/unbusy/x.lua: 'region' and 'name' by 'region.fields' in its schema,
**      'region.contradiction(o)', and a failure of 'core.x' is passed on.
**   4. spec/region_kill_spec.lua: the part in its list, with its invariants.
*/
#ifndef UB_LUA_SHARED_H
#define UB_LUA_SHARED_H

#include "base/region.h"
#include "lua/lua_util.h"

/* The upvalue by which a method knows that its object is a shared one. */
#define UB_SHARED_UPVALUE  5

typedef struct ub_self {
  void *machine;      /* of a private part */
  ub_shared *shared;  /* or NULL */
} ub_self;

/* The method's object: userdata that is the machine, or a shared part. */
ub_self ub_checkeither (lua_State *L, const char *type, const char *shared);

/* The same for a shared part that is known to be one, at 'index'. */
ub_self ub_toshared (lua_State *L, int index);

/* Where that object keeps its part: NULL there once it is closed. Holds as long as the object. */
ub_shared *const *ub_sharedplace (lua_State *L, int index);

/* The machine, locked when shared; NULL: see 'ub_shared_enter'. Then leave it. */
static inline void *ub_enter (const ub_self *self) {
  return self->shared == NULL ? self->machine : ub_shared_enter(self->shared);
}

static inline void ub_leave (const ub_self *self) {
  if (self->shared != NULL)
    ub_shared_leave(self->shared);
}

/* The private machine, or a copy of a shared one's head in 'room'; NULL as above. */
const void *ub_look (const ub_self *self, void *room, size_t bytes);

uint64_t ub_layout (const void *config, size_t bytes);

/*
** Push the part named by argument 4 in the region that is argument 3: returns 1,
** or 3 for nil, message, code.
*/
int ub_pushshared (lua_State *L, const char *shared, const ub_part_type *type,
                   uint64_t layout, const void *config, size_t bytes, int64_t now_us);

/* Close the part that is argument 1, of that shared kind; may be done twice. */
void ub_closeshared (lua_State *L, const char *shared);

/* Make the metatable of a part's shared kind, with methods 'ub_checkeither' knows. */
void ub_newshared (lua_State *L, const char *shared, const ub_part_type *type,
                   const luaL_Reg *methods);

/* The same; the methods' second upvalue is the metatable of 'other'; the third and the fourth are
   nil, for the binding's own use. */
void ub_newsharedwith (lua_State *L, const char *shared, const ub_part_type *type,
                       const luaL_Reg *methods, const char *other);

#endif
