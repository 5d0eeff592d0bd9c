# unbusy: build, demo, tests. `make help` lists what there is.

LUAS    = lua5.4 luajit
CC     ?= cc
OPT    ?= -O2 -g
WERROR ?= -Werror
CFLAGS  = -std=gnu11 -D_GNU_SOURCE $(OPT) -fPIC -fvisibility=hidden -Icsrc \
          -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
          -Wpointer-arith -Wvla $(WERROR) $(EXTRA_CFLAGS)
LDFLAGS = -shared -Wl,-z,nodelete -Wl,-z,relro,-z,now $(EXTRA_LDFLAGS)
LIBS    = -lcurl -lpthread -lm
BUILD  ?= build

SOURCES := $(sort $(filter-out csrc/lua/lua_redis.c, \
             $(wildcard csrc/base/*.c csrc/parts/*.c csrc/engine/*.c csrc/lua/*.c)))

# The module that speaks with Redis: built where hiredis is (Debian: libhiredis-dev).
HIREDIS ?= $(shell pkg-config --libs hiredis 2>/dev/null)
REDIS_SOURCES := $(sort $(wildcard csrc/base/*.c csrc/redis/*.c)) csrc/engine/pipe_guard.c \
                 csrc/parts/key.c csrc/lua/lua_key.c csrc/lua/lua_util.c csrc/lua/lua_redis.c

LUAINC_lua5.4 ?= $(shell pkg-config --cflags lua5.4 2>/dev/null)
LUAINC_luajit ?= $(shell pkg-config --cflags luajit 2>/dev/null)

.PHONY: all help $(LUAS) deps demo test test-all fuzz check env clean
all: $(LUAS)

# Ratios against peers and floors, on both Luas; NAME=cache runs one of them.
.PHONY: bench
bench:
	@sh tools/deps.sh bench
	@$(MAKE) -s all
	@sh tools/bench.sh $(NAME)

help:
	@echo 'make            build for Lua 5.4 and LuaJIT'
	@echo 'make demo       install what is missing, build, and watch a burst being survived'
	@echo 'make test       install what is missing, build, run every test'
	@echo 'make test-all   the long ones too: no memory, an eager collector, valgrind, fuzz'
	@echo 'make fuzz       random bytes for all that reads the network, a minute each'
	@echo '                (UNBUSY_FUZZ_SECONDS=600: ten)'
	@echo 'make soak       a gateway under a varying load for half an hour'
	@echo '                (UNBUSY_SOAK_SECONDS=60: a minute)'
	@echo 'make chaos      ten million calls in virtual time, in which everything happens at once'
	@echo '                (UNBUSY_CHAOS=100000: that many; UNBUSY_SEED=N: those of that run again)'
	@echo 'make bench      measure, as ratios against peers and floors in the same run'
	@echo 'make check      the quick one: layers, lengths, linter, documentation'
	@echo 'make deps       install what building needs (Debian), or say what it is'
	@echo 'make env        shell lines that let LUA=lua5.4 (or luajit) find this tree'
	@echo 'make install    to PREFIX (/usr/local), for LUA=lua5.4 or luajit'

define LUA_RULES
OBJECTS_$(1) := $$(SOURCES:csrc/%.c=$$(BUILD)/$(1)/obj/%.o)
REDIS_OBJECTS_$(1) := $$(REDIS_SOURCES:csrc/%.c=$$(BUILD)/$(1)/obj/%.o)
$(1): $$(BUILD)/$(1)/unbusy/core.so $$(if $$(HIREDIS),$$(BUILD)/$(1)/unbusy/core_redis.so)
$$(BUILD)/$(1)/unbusy/core.so: $$(OBJECTS_$(1))
	@mkdir -p $$(@D)
	$$(CC) $$(LDFLAGS) -o $$@ $$^ $$(LIBS)
$$(BUILD)/$(1)/unbusy/core_redis.so: $$(REDIS_OBJECTS_$(1))
	@mkdir -p $$(@D)
	$$(CC) $$(LDFLAGS) -o $$@ $$^ $$(HIREDIS) -lpthread -lm
$$(BUILD)/$(1)/obj/%.o: csrc/%.c
	@mkdir -p $$(@D)
	$$(CC) $$(CFLAGS) $$(LUAINC_$(1)) -MMD -MP -c -o $$@ $$<
-include $$(OBJECTS_$(1):.o=.d) $$(REDIS_OBJECTS_$(1):.o=.d)
endef
$(foreach lua,$(LUAS),$(eval $(call LUA_RULES,$(lua))))

deps:
	@sh tools/deps.sh build

# What a recipe installs is not there yet when make reads this file: so they build in a make of their own.
demo:
	@sh tools/deps.sh demo
	@$(MAKE) -s $(JOBS) lua5.4
	@eval "$$($(MAKE) -s env LUA=lua5.4)"; exec lua5.4 examples/demo/demo.lua

JOBS  = -j$(shell nproc)
TESTS = check quick
LONG_TESTS = unit_lua54 unit_luajit sanitize oom collector valgrind fuzz soak chaos

test:
	@sh tools/deps.sh test
	@$(MAKE) -s $(JOBS) all
	@sh tools/test.sh $(TESTS)

# Well over an hour.
test-all:
	@sh tools/deps.sh test
	@$(MAKE) -s $(JOBS) all
	@sh tools/test.sh $(TESTS) $(LONG_TESTS)

# Half an hour under a load that rises and falls.
.PHONY: soak
soak:
	@sh tools/deps.sh test
	@$(MAKE) -s $(JOBS) all
	@UNBUSY_SOAK_SECONDS=$${UNBUSY_SOAK_SECONDS:-1800} sh tools/test.sh soak_gateway

# Two hours of virtual time. UNBUSY_CHAOS=100000: that many calls.
.PHONY: chaos
chaos:
	@sh tools/deps.sh test
	@$(MAKE) -s $(JOBS) all
	@sh tools/test.sh chaos

fuzz:
	@sh tools/deps.sh test
	@$(MAKE) -s $(JOBS) all
	@sh tools/test.sh fuzz

check:
	@eval "$$($(MAKE) -s env LUA=lua5.4)"; lua5.4 tools/check.lua
	@luacheck -q .

LUA ?= lua5.4
env:
	@echo 'export LUA_PATH="$(CURDIR)/lua/?.lua;$(CURDIR)/lua/?/init.lua;$(CURDIR)/?.lua;$(CURDIR)/?/init.lua;;"'
	@echo 'export LUA_CPATH="$(abspath $(BUILD))/$(LUA)/?.so;;"'

# {== Installing ===============================================================

PREFIX ?= /usr/local
ABI_lua5.4 = 5.4
ABI_luajit = 5.1
INST_LUADIR ?= $(PREFIX)/share/lua/$(ABI_$(LUA))
INST_LIBDIR ?= $(PREFIX)/lib/lua/$(ABI_$(LUA))
INST_BINDIR ?= $(PREFIX)/bin
CORE ?= $(BUILD)/$(LUA)/unbusy/core.so

.PHONY: install copy rock rock-install
install: $(LUA) copy

copy:
	mkdir -p "$(DESTDIR)$(INST_LUADIR)" "$(DESTDIR)$(INST_LIBDIR)/unbusy" "$(DESTDIR)$(INST_BINDIR)"
	cp -R lua/unbusy "$(DESTDIR)$(INST_LUADIR)/"
	install -m 755 $(CORE) "$(DESTDIR)$(INST_LIBDIR)/unbusy/core.so"
	[ ! -f $(CORE:.so=_redis.so) ] || \
	  install -m 755 $(CORE:.so=_redis.so) "$(DESTDIR)$(INST_LIBDIR)/unbusy/core_redis.so"
	install -m 755 bin/unbusy "$(DESTDIR)$(INST_BINDIR)/unbusy"

# LuaRocks builds for whatever Lua it runs: it names the headers, in a tree of objects of their own.
rock:
	rm -rf $(BUILD)/rock
	$(MAKE) lua5.4 BUILD=$(BUILD)/rock LUAINC_lua5.4="-I$(ROCK_INCDIR)" OPT="$(OPT)" WERROR= \
	  EXTRA_LDFLAGS="$(if $(ROCK_CURL_LIBDIR),-L$(ROCK_CURL_LIBDIR))"

rock-install:
	$(MAKE) copy CORE=$(BUILD)/rock/lua5.4/unbusy/core.so INST_LUADIR="$(INST_LUADIR)" \
	  INST_LIBDIR="$(INST_LIBDIR)" INST_BINDIR="$(INST_BINDIR)"

# }=============================================================================

clean:
	rm -rf $(BUILD)
