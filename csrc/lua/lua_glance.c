/*
** lua_glance.c: the binding of glance.h.
*/
#include <string.h>

#include "lua/lua_util.h"
#include "parts/glance.h"

static void push_span (lua_State *L, ub_span s) {
  if (s.at != NULL)
    lua_pushlstring(L, s.at, s.length);
  else
    lua_pushnil(L);
}

static int check_kind (lua_State *L) {
  static const char *const names[] = {"chat", "complete", "embed"};  /* as 'ub_glance_kind' */
  const char *name = luaL_checkstring(L, 1);
  int kind;
  for (kind = 0; kind < 3; kind++)
    if (strcmp(name, names[kind]) == 0)
      return kind;
  return luaL_argerror(L, 1, "chat, complete or embed expected");
}

/* core.glance(kind, text) -> plain, model or nil, finish or nil, usage (JSON) or nil */
static int glance (lua_State *L) {
  size_t length;
  int kind = check_kind(L);
  const char *text = luaL_checklstring(L, 2, &length);
  ub_glance_answer answer;
  int plain = ub_glance((ub_glance_kind)kind, text, length, &answer);
  lua_pushboolean(L, plain);
  if (!plain)
    return 1;
  push_span(L, answer.model);
  push_span(L, answer.finish);
  push_span(L, answer.usage);
  return 4;
}

void ub_open_glance (lua_State *L) {
  lua_pushcfunction(L, glance);
  lua_setfield(L, -2, "glance");
}
