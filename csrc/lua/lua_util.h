/*
** lua_util.h: what all bindings share: the gap between LuaJIT's API and
** Lua 5.4's, failures, option fields, units.
**
** Every binding is the same four moves: check, convert, call, push. Options
** arrive whole and checked (lua/unbusy/options.lua fills in the defaults), so
** a field that is missing here is a mistake of ours and raises.
*/
#ifndef UB_LUA_UTIL_H
#define UB_LUA_UTIL_H

#include <lauxlib.h>
#include <lua.h>
#include <stdint.h>

#if LUA_VERSION_NUM < 502
#define lua_rawlen(L, index) lua_objlen(L, index)
#define luaL_setfuncs(L, functions, n) luaL_register(L, NULL, functions)
#define UB_FFI 1  /* LuaJIT: see 'ub_setcall' */
#else
#define UB_FFI 0
#endif

#if LUA_VERSION_NUM < 504
#define ub_newuserdata(L, size) lua_newuserdata(L, size)
#define ub_newholder(L, size) lua_newuserdata(L, size)
#define ub_sethold(L, index) lua_setfenv(L, index)
#define ub_pushheld(L, index) lua_getfenv(L, index)
#else
#define ub_newuserdata(L, size) lua_newuserdatauv(L, size, 0)
#define ub_newholder(L, size) lua_newuserdatauv(L, size, 1)
#define ub_sethold(L, index) lua_setiuservalue(L, index, 1)
#define ub_pushheld(L, index) lua_getiuservalue(L, index, 1)
#endif

/* Push nil, "what: sentence" and the code word of 'err'. Returns 3. */
int ub_pushfail (lua_State *L, int err, const char *what);

/* Push a ticket or another whole number under 2^53. */
void ub_pushwhole (lua_State *L, int64_t n);

/*
** A ticket argument: 0 (which no part ever gives out) for anything that is
** no whole number in 1 … 2^53, so that a wrong ticket is ignored as a late
** one is. Raises when it is no number at all.
*/
uint64_t ub_checkticket (lua_State *L, int index);
uint64_t ub_toticket (double n);

/* Seconds (a number) to microseconds, held within ±285 years; NaN raises. */
int64_t ub_checkus (lua_State *L, int index);
int64_t ub_tous (double seconds);  /* no NaN may come here */

/* The time argument that may be left out: microseconds, or the clock's now. */
int64_t ub_optnow (lua_State *L, int index);

/* Fields of the options table at 'index'; each raises on another type. */
double ub_fieldnumber (lua_State *L, int index, const char *name);
int64_t ub_fieldwhole (lua_State *L, int index, const char *name);
int64_t ub_fieldus (lua_State *L, int index, const char *name);
int ub_fieldtrue (lua_State *L, int index, const char *name);

/* As above, or 'otherwise' when the field is nil. */
double ub_optfieldnumber (lua_State *L, int index, const char *name, double otherwise);
int64_t ub_optfieldus (lua_State *L, int index, const char *name, int64_t otherwise);

/* The field's place in the NULL-ended list 'words'; raises when not there. */
int ub_fieldword (lua_State *L, int index, const char *name, const char *const words[]);

/* An argument's place in the NULL-ended list 'words' (luaL_checkoption). */
int ub_checkword (lua_State *L, int index, const char *const words[]);

/* The field "seed", or a new seed of the system's entropy when it is nil. */
uint64_t ub_fieldseed (lua_State *L, int index);

/* table[name] = value, for the table on top. */
void ub_setnumber (lua_State *L, const char *name, double value);
void ub_setwhole (lua_State *L, const char *name, int64_t value);

/*
** Make the metatable 'type' with these methods (under __index) and these
** metamethods (NULL for none). Each method has the metatable as its first
** upvalue, for 'ub_checkself'. Nothing is left on the stack.
*/
void ub_newtype (lua_State *L, const char *type, const luaL_Reg *methods,
                 const luaL_Reg *meta);

/* Give the userdata on top its metatable: it is whole now. */
void ub_settype (lua_State *L, const char *type);

/* Add methods: their second upvalue is the metatable of 'other' (NULL: none). */
void ub_addmethods (lua_State *L, const char *type, const char *other,
                    const luaL_Reg *methods);

/* The userdata at 'index' when the value at 'meta' is its metatable, else NULL. */
void *ub_testmeta (lua_State *L, int index, int meta);

/*
** The method's object: luaL_checkudata(L, 1, type), but quicker, since the
** metatable, an upvalue, need not be looked up by name.
*/
void *ub_checkself (lua_State *L, const char *type);

#if UB_FFI
typedef void ub_call (void);

/*
** core.calls[part][name] = the function's address, for the module table on
** top: how lua/unbusy/ffi calls it without lua_State. What it gets through
** there is checked already.
*/
void ub_setcall (lua_State *L, const char *part, const char *name, ub_call *function);

/* The time such a function got: as 'ub_optnow', NaN where none was given. */
int64_t ub_callnow (double seconds);
#endif

#include "lua/lua_open.h"

#endif
