/*
** lua_region.h: what the bindings of parts need of the binding of regions.
*/
#ifndef UB_LUA_REGION_H
#define UB_LUA_REGION_H

#include <lua.h>

#include "base/region.h"

/* The open region at 'index'; raises for anything else. */
ub_region *ub_checkregion (lua_State *L, int index);

#endif
