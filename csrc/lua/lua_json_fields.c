/*
** lua_json_fields.c: the binding of json_fields.h.
*/
#include "lua/lua_util.h"
#include "base/err.h"
#include "parts/json_fields.h"

#define MOST_NAMES 32

/* The names of the list at 2, which keeps them alive; how many. */
static size_t read_names (lua_State *L, ub_json_field *fields) {
  size_t count, i;
  luaL_checktype(L, 2, LUA_TTABLE);
  count = lua_rawlen(L, 2);
  luaL_argcheck(L, count <= MOST_NAMES, 2, "more than 32 names");
  for (i = 0; i < count; i++) {
    lua_rawgeti(L, 2, (int)i + 1);
    luaL_argcheck(L, lua_type(L, -1) == LUA_TSTRING, 2, "a name that is no string");
    fields[i].name = lua_tolstring(L, -1, &fields[i].name_length);
    lua_pop(L, 1);
  }
  return count;
}

/* table[name] = { … } for the table on top; places as string.sub has them */
static void push_field (lua_State *L, const ub_json_field *field) {
  lua_pushlstring(L, field->name, field->name_length);
  lua_createtable(L, 0, 6);
  ub_setwhole(L, "times", (int64_t)field->times);
  ub_setwhole(L, "before", (int64_t)field->before);
  ub_setwhole(L, "name", (int64_t)field->name_at + 1);
  ub_setwhole(L, "first", (int64_t)field->value_at + 1);
  ub_setwhole(L, "last", (int64_t)field->value_end);
  ub_setwhole(L, "next", (int64_t)field->next + 1);
  lua_rawset(L, -3);
}

/* core.json_fields(text, names) -> fields, last, members | nil, message, code */
static int json_fields (lua_State *L) {
  ub_json_field fields[MOST_NAMES];
  ub_json_object object;
  size_t length, count = read_names(L, fields), i;
  const char *text = luaL_checklstring(L, 1, &length);
  int err = ub_json_fields(text, length, fields, count, &object);
  if (err != UB_OK) {
    lua_pushnil(L);
    lua_pushliteral(L, "json_fields: no JSON object");
    lua_pushstring(L, ub_err_word(err));
    return 3;
  }
  lua_createtable(L, 0, (int)count);
  for (i = 0; i < count; i++)
    if (fields[i].times > 0)
      push_field(L, &fields[i]);
  ub_pushwhole(L, (int64_t)object.end);
  ub_pushwhole(L, (int64_t)object.members);
  return 3;
}

/* core.json_once(text, names) -> does none of them come twice? | nil: no JSON object */
static int json_once (lua_State *L) {
  ub_json_field fields[MOST_NAMES];
  ub_json_object object;
  size_t length, count = read_names(L, fields), i;
  const char *text = luaL_checklstring(L, 1, &length);
  int once = 1;
  if (ub_json_fields(text, length, fields, count, &object) != UB_OK)
    return 0;
  for (i = 0; i < count; i++)
    once = once && fields[i].times <= 1;
  lua_pushboolean(L, once);
  return 1;
}

/* core.json_members(text) -> of all objects in it | nil: no JSON object */
static int json_members (lua_State *L) {
  ub_json_object object;
  size_t length;
  const char *text = luaL_checklstring(L, 1, &length);
  if (ub_json_fields(text, length, NULL, 0, &object) != UB_OK)
    return 0;
  ub_pushwhole(L, (int64_t)object.all);
  return 1;
}

void ub_open_json_fields (lua_State *L) {
  lua_pushcfunction(L, json_members);
  lua_setfield(L, -2, "json_members");
  lua_pushcfunction(L, json_once);
  lua_setfield(L, -2, "json_once");
  lua_pushcfunction(L, json_fields);
  lua_setfield(L, -2, "json_fields");
}
