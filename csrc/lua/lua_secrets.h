/*
** lua_secrets.h: secrets as an argument of other bindings.
*/
#ifndef UB_LUA_SECRETS_H
#define UB_LUA_SECRETS_H

#include <lua.h>

#include "parts/secrets.h"

/* The secrets at 'index', which the stack keeps alive; NULL for nil; else raises. */
const ub_secrets *ub_optsecrets (lua_State *L, int index);

#endif
