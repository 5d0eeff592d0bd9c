/*
** lua_open.h: how each binding enters the module table on top of the stack.
*/
#ifndef UB_LUA_OPEN_H
#define UB_LUA_OPEN_H

#include <lua.h>

void ub_open_backoff (lua_State *L);
void ub_open_balancer (lua_State *L);
void ub_open_bell (lua_State *L);
void ub_open_breaker (lua_State *L);
void ub_open_budget (lua_State *L);
void ub_open_cache (lua_State *L);
void ub_open_counters (lua_State *L);
void ub_open_ends (lua_State *L);
void ub_open_engine (lua_State *L);
void ub_open_flights (lua_State *L);
void ub_open_glance (lua_State *L);
void ub_open_guard (lua_State *L);
void ub_open_histogram (lua_State *L);
void ub_open_json_fields (lua_State *L);
void ub_open_key (lua_State *L);
void ub_open_limiter (lua_State *L);
void ub_open_metrics (lua_State *L);
void ub_open_rate (lua_State *L);
void ub_open_region (lua_State *L);
void ub_open_retry_after (lua_State *L);
void ub_open_secrets (lua_State *L);
void ub_open_sse (lua_State *L);
void ub_open_topk (lua_State *L);
void ub_open_turns (lua_State *L);

#endif
