/*
** lua_metrics.c: the binding of metrics.h.
**
** Whoever counts holds a 'set': the series of what is counted together, found once.
** Then one call counts in all of them. It keeps the part alive, and sees it closed.
** Passing a value takes about as long as counting it: so one value may go to some
** series, and the 1 that a counter gets each time is not passed at all.
*/
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/region_peek.h"
#include "lua/lua_shared.h"
#include "parts/metrics.h"
#include "parts/metrics_text.h"

#define TYPE    "unbusy.metrics"
#define SHARED  "unbusy.shared_metrics"
#define SET     "unbusy.metrics_set"
#define TEXT    "unbusy.metrics_text"  /* a buffer that is given back whatever raises */

#define MOST_SERIES  12     /* of a set */
#define PIECE        16384  /* bytes of text, or a few more, that are written at a time */

typedef struct box {
  ub_metrics *metrics;  /* NULL: closed */
} box;

typedef struct set {
  box *own;                 /* of a private part; or NULL */
  ub_shared *const *shared; /* of a shared one */
  uint64_t stamp;           /* of the part */
  int count, values;        /* of series; of values that these take */
  uint8_t from[MOST_SERIES];  /* which value each takes; 0: it is 1 */
  ub_metric series[MOST_SERIES];
} set;

static const char *const kinds[] = {"counter", "level", "seconds", "moments", "tokens", "sizes",
                                    NULL};  /* as 'ub_metrics_kind' */

static ub_self check (lua_State *L) {
  ub_self self = ub_checkeither(L, TYPE, SHARED);
  if (self.shared == NULL) {  /* the machine lies outside of the userdata */
    self.machine = ((box *)self.machine)->metrics;
    luaL_argcheck(L, self.machine != NULL, 1, "the metrics are closed");
  }
  return self;
}

/* The machine, without a lock; NULL: as of 'ub_shared_peek'. */
static ub_metrics *check_peeked (lua_State *L) {
  ub_self self = check(L);
  uint32_t process;
  return self.shared == NULL ? self.machine : ub_shared_peek(self.shared, &process);
}

static int pushlost (lua_State *L) {
  return ub_pushfail(L, UB_EFULL, "metrics");
}

/* core.metrics(options, nil, region or nil, name) -> metrics | nil, message, code */
static int metrics_new (lua_State *L) {
  ub_metrics_config config;
  int64_t bytes;
  int shares = !lua_isnoneornil(L, 3);
  uint64_t layout;
  box *b;
  luaL_checktype(L, 1, LUA_TTABLE);
  bytes = ub_fieldwhole(L, 1, "bytes");
  luaL_argcheck(L, bytes >= UB_METRICS_LEAST && bytes <= UB_METRICS_MOST, 1,
                "bytes out of range");
  memset(&config, 0, sizeof config);  /* its hash tells one layout from another */
  config.bytes = (uint32_t)bytes;
  config.processes = shares ? UB_METRICS_SHARED : 1;
  layout = ub_layout(&config, sizeof config);
  config.seed = ub_fieldseed(L, 1);
  config.began_us = ub_clock_wall_us();
  if (shares)
    return ub_pushshared(L, SHARED, &ub_metrics_part, layout, &config, sizeof config, 0);
  b = ub_newuserdata(L, sizeof *b);
  b->metrics = NULL;  /* closed first, so that __gc can treat it */
  ub_settype(L, TYPE);
  b->metrics = ub_alloc(ub_metrics_size(&config));
  if (b->metrics == NULL)
    return ub_pushfail(L, UB_ENOMEM, "metrics");
  ub_metrics_init(b->metrics, &config);
  return 1;
}

/* {== Making ================================================================ */

/* The key at 'index': "name" or "name{labels}". */
static ub_metric_key checkkey (lua_State *L, int index) {
  ub_metric_key key;
  const char *brace;
  key.bytes = luaL_checklstring(L, index, &key.length);
  luaL_argcheck(L, key.length >= 1 && key.length <= UB_METRICS_KEY, index,
                "1 to 1024 bytes expected");
  brace = memchr(key.bytes, '{', key.length);
  key.name_length = brace != NULL ? (size_t)(brace - key.bytes) : key.length;
  return key;
}

/* Find or make it: UB_OK or an error. The metrics are looked up here, since whatever Lua makes
   before may run a finalizer that closes them. */
static int open_series (lua_State *L, int kind, const ub_metric_key *key, int quiet,
                        ub_metric *found, uint64_t *stamp) {
  ub_self self = check(L);
  ub_metrics *m = ub_enter(&self);
  int err;
  if (m == NULL)
    return UB_EFULL;
  err = ub_metrics_open(m, (ub_metrics_kind)kind, key, quiet, found);
  *stamp = m->stamp;
  ub_leave(&self);
  return err;
}

/* m:open(kind, key, quiet) -> true | nil, message, code */
static int metrics_open (lua_State *L) {
  int kind = ub_checkword(L, 2, kinds), quiet = lua_toboolean(L, 4), err;
  ub_metric_key key = checkkey(L, 3);
  ub_metric found;
  uint64_t stamp;
  err = open_series(L, kind, &key, quiet, &found, &stamp);
  if (err != UB_OK)
    return ub_pushfail(L, err, "metrics");
  lua_pushboolean(L, 1);
  return 1;
}

/* Which value the i-th series takes: it says so in the table on top, or the i-th. */
static int value_of (lua_State *L, int i) {
  double from = i;
  lua_getfield(L, -1, "from");
  if (!lua_isnil(L, -1))
    from = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : NAN;
  lua_pop(L, 1);
  luaL_argcheck(L, from >= 0 && from <= MOST_SERIES, 2, "from: 0 to 12 expected");
  return (int)from;
}

/* The i-th series of the list at 2: its kind, key and, for want of room, the other key. What
   has no room and no other is left out. */
static int add_series (lua_State *L, set *s, int i) {
  int kind, err, from;
  ub_metric_key key;
  lua_rawgeti(L, 2, i);
  luaL_argcheck(L, lua_type(L, -1) == LUA_TTABLE, 2, "a list of { kind, key, other } expected");
  from = value_of(L, i);
  s->from[s->count] = (uint8_t)from;
  s->values = from > s->values ? from : s->values;
  lua_rawgeti(L, -1, 1);
  kind = ub_checkword(L, lua_gettop(L), kinds);
  lua_rawgeti(L, -2, 2);
  key = checkkey(L, lua_gettop(L));
  err = open_series(L, kind, &key, 0, &s->series[s->count], &s->stamp);
  if (err == UB_EFULL) {
    lua_rawgeti(L, -3, 3);
    if (!lua_isnil(L, -1)) {
      key = checkkey(L, lua_gettop(L));
      err = open_series(L, kind, &key, 1, &s->series[s->count], &s->stamp);
    }
    lua_pop(L, 1);
  }
  lua_pop(L, 3);
  s->count++;
  return err == UB_EFULL ? UB_OK : err;
}

/* m:set { { kind, key, other or nil, from = which value }, … } -> set | nil, message, code */
static int metrics_set (lua_State *L) {
  ub_self self = check(L);
  int i, count, err = UB_OK;
  set *s;
  luaL_checktype(L, 2, LUA_TTABLE);
  count = (int)lua_rawlen(L, 2);
  luaL_argcheck(L, count >= 1 && count <= MOST_SERIES, 2, "1 to 12 series expected");
  lua_settop(L, 2);
  s = ub_newholder(L, sizeof *s);
  *s = (set){.own = self.shared == NULL ? lua_touserdata(L, 1) : NULL,
             .shared = self.shared != NULL ? ub_sharedplace(L, 1) : NULL};
  for (i = 1; i <= count && err == UB_OK; i++)
    err = add_series(L, s, i);
  if (err != UB_OK)
    return ub_pushfail(L, err, "metrics");
  lua_createtable(L, 1, 0);  /* what it holds */
  lua_pushvalue(L, 1);
  lua_rawseti(L, -2, 1);
  ub_sethold(L, 3);
  ub_settype(L, SET);
  return 1;
}

/* }============================================================================ */

/* {== Counting ============================================================== */

/* The machine that its series are in; NULL: it is there no more. */
static ub_metrics *machine_of (const set *s, uint32_t *process) {
  ub_metrics *m = NULL;
  *process = 0;
  if (s->own != NULL)
    m = s->own->metrics;
  else if (*s->shared != NULL)
    m = ub_shared_peek(*s->shared, process);
  return m != NULL && m->stamp == s->stamp ? m : NULL;
}

/* Note the values, of which the first is 1, and NaN is none: are its series still there? */
static int note (const set *s, const double values[]) {
  uint32_t process;
  ub_metrics *m = machine_of(s, &process);
  int i;
  if (m == NULL)
    return 0;
  for (i = 0; i < s->count; i++)
    ub_metrics_note(m, &s->series[i], process, values[s->from[i]]);
  return 1;
}

/* s:note(value or nil, …) -> false where its series are not there any more */
static int set_note (lua_State *L) {
  const set *s = ub_checkself(L, SET);
  double values[1 + MOST_SERIES];
  int i;
  values[0] = 1;
  for (i = 1; i <= s->values; i++)
    values[i] = lua_type(L, i + 1) == LUA_TNUMBER ? lua_tonumber(L, i + 1) : NAN;
  lua_pushboolean(L, note(s, values));
  return 1;
}

#if UB_FFI
/* The same of 12 values. */
static int call_note (void *self, double a, double b, double c, double d, double e, double f,
                      double g, double h, double i, double j, double k, double l) {
  const double values[1 + MOST_SERIES] = {1, a, b, c, d, e, f, g, h, i, j, k, l};
  return note(self, values);
}
#endif

/* }============================================================================ */

/* {== Reading =============================================================== */

/* m:text(name, from or nil) -> lines, where to go on or nil | nil, message, code */
static int metrics_text (lua_State *L) {
  size_t length, most = lua_isnoneornil(L, 3) ? SIZE_MAX : PIECE;
  const char *name = luaL_checklstring(L, 2, &length);
  double from = luaL_optnumber(L, 3, 0);
  uint32_t at = from >= 0 && from < UINT32_MAX ? (uint32_t)from : UINT32_MAX;
  const ub_metrics *m;
  ub_buf *out = ub_newuserdata(L, sizeof *out);
  int err;
  ub_buf_init(out);
  ub_settype(L, TEXT);
  m = check_peeked(L);  /* what is made before may run a finalizer, which may close them */
  if (m == NULL)
    return pushlost(L);
  err = ub_metrics_text(m, name, length, &at, most, out);
  if (err == UB_OK)
    lua_pushlstring(L, ub_buf_length(out) > 0 ? ub_buf_bytes(out) : "", ub_buf_length(out));
  ub_buf_fini(out);
  if (err != UB_OK)
    return ub_pushfail(L, err, "metrics");
  if (at == 0)
    return 1;
  ub_pushwhole(L, at);
  return 2;
}

static int text_gc (lua_State *L) {
  ub_buf_fini(lua_touserdata(L, 1));
  return 0;
}

/* A series that was found, with its labels: a copy, since whatever Lua makes may run a finalizer
   that closes the metrics. */
typedef struct found {
  ub_metric_view view;
  size_t length;
  char labels[UB_METRICS_KEY];
} found;

/* The next series of that name behind 'at': where to go on, or 0: there is none. */
static uint32_t find_series (const ub_metrics *m, const char *name, size_t length, uint32_t at,
                             found *f) {
  const ub_metric_view *v = &f->view;
  at = ub_metrics_read(m, at, name, length, &f->view);
  if (at == 0)
    return 0;
  f->length = v->length - v->name_length;
  memcpy(f->labels, v->key + v->name_length, f->length);
  return at;
}

static void push_series (lua_State *L, const found *f) {
  const double *bounds;
  int counts = ub_metrics_bounds(f->view.kind, &bounds) > 0;
  lua_createtable(L, 0, 3);
  lua_pushlstring(L, f->labels, f->length);
  lua_setfield(L, -2, "labels");
  if (counts)
    ub_setwhole(L, "count", (int64_t)f->view.count);
  ub_setnumber(L, counts ? "sum" : "value", f->view.sum);
}

/* m:list(name) -> { { labels =, value = or count =, sum = }, … } */
static int metrics_list (lua_State *L) {
  size_t length;
  const char *name = luaL_checklstring(L, 2, &length);
  const ub_metrics *m;
  uint64_t stamp;
  uint32_t at = 0;
  found f;
  int n = 0;
  lua_newtable(L);
  m = check_peeked(L);
  if (m == NULL)
    return pushlost(L);
  stamp = m->stamp;
  while (m != NULL && m->stamp == stamp && (at = find_series(m, name, length, at, &f)) != 0) {
    push_series(L, &f);
    lua_rawseti(L, -2, ++n);
    m = check_peeked(L);  /* is it still there? */
  }
  return 1;
}

/* m:stats() -> { bytes =, used =, series =, refused =, began = } */
static int metrics_stats (lua_State *L) {
  ub_self self = check(L);
  ub_metrics room;
  const ub_metrics *m = ub_look(&self, &room, sizeof room);
  if (m == NULL)
    return pushlost(L);
  room = *m;
  lua_newtable(L);
  ub_setwhole(L, "bytes", room.config.bytes);
  ub_setwhole(L, "used", room.used);
  ub_setwhole(L, "series", room.series);
  ub_setwhole(L, "refused", room.refused);
  ub_setnumber(L, "began", (double)room.config.began_us / UB_SECOND_US);
  return 1;
}

/* }============================================================================ */

/* m:close() of a shared one: the others go on with it */
static int metrics_leave (lua_State *L) {
  ub_closeshared(L, SHARED);
  return 0;
}

/* m:close(); may be called twice, and is __gc and __close */
static int metrics_close (lua_State *L) {
  box *b = luaL_checkudata(L, 1, TYPE);
  ub_free(b->metrics);
  b->metrics = NULL;
  return 0;
}

void ub_open_metrics (lua_State *L) {
  static const luaL_Reg methods[] = {
    {"open", metrics_open}, {"set", metrics_set}, {"text", metrics_text}, {"list", metrics_list},
    {"stats", metrics_stats}, {"close", metrics_close}, {NULL, NULL}
  };
  static const luaL_Reg shared[] = {
    {"open", metrics_open}, {"set", metrics_set}, {"text", metrics_text}, {"list", metrics_list},
    {"stats", metrics_stats}, {"close", metrics_leave}, {NULL, NULL}
  };
  static const luaL_Reg none[] = {{NULL, NULL}}, of_text[] = {{"__gc", text_gc}, {NULL, NULL}};
  static const luaL_Reg of_set[] = {{"note", set_note}, {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__gc", metrics_close}, {"__close", metrics_close},
                                  {NULL, NULL}};
  ub_newtype(L, TYPE, methods, meta);
  ub_newshared(L, SHARED, &ub_metrics_part, shared);
  ub_newtype(L, SET, of_set, NULL);
  ub_newtype(L, TEXT, none, of_text);
  lua_pushcfunction(L, metrics_new);
  lua_setfield(L, -2, "metrics");
#if UB_FFI
  ub_setcall(L, "metrics_set", "note", (ub_call *)call_note);
#endif
}
