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

# Ratios against peers and floors; NAME=cache runs one of them, on both Luas. All of them write
# docs/performance.md and its plots.
.PHONY: bench
bench:
	@sh tools/deps.sh bench
	@$(MAKE) -s all
	@sh tools/bench.sh $(NAME)

# Every figure of the source, measured again, in less than ten minutes: docs/claims.md is written.
# NAME=batching measures one row and writes nothing.
.PHONY: claims
claims:
	@sh tools/deps.sh claims
	@$(MAKE) -s $(JOBS) all
	@eval "$$($(MAKE) -s env LUA=luajit)"; export UNBUSY_LUA=luajit; \
	  exec luajit claims/claims.lua $(NAME)

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
	@echo 'make bench      measure, as ratios against peers and floors in the same run, and write'
	@echo '                docs/performance.md (half an hour; NAME=cache: one bench, no page)'
	@echo 'make claims     measure every figure that was claimed: docs/claims.md'
	@echo 'make check      the quick one: layers, lengths, linter, documentation'
	@echo 'make docs       pages of every public function, in build/api'
	@echo 'make deps       install what building needs (Debian), or say what it is'
	@echo 'make env        shell lines that let LUA=lua5.4 (or luajit) find this tree'
	@echo 'make install    to PREFIX (/usr/local), for LUA=lua5.4 or luajit'
	@echo 'make uninstall  what make install has put there, for LUA=lua5.4 or luajit'
	@echo 'make dist       build/dist: the sources of this version, and a source rock of them'

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

test:
	@sh tools/deps.sh test
	@$(MAKE) -s $(JOBS) all
	@sh tools/test.sh $(TESTS)

# Well over an hour.
test-all:
	@sh tools/deps.sh test
	@$(MAKE) -s $(JOBS) all
	@sh tools/test.sh $(TESTS) long

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
	@UNBUSY_CHAOS=$${UNBUSY_CHAOS:-10000000} sh tools/test.sh chaos

fuzz:
	@sh tools/deps.sh test
	@$(MAKE) -s $(JOBS) all
	@sh tools/test.sh fuzz

# Pages of every public function.
.PHONY: docs
docs:
	@sh tools/deps.sh docs
	@$(MAKE) -s $(JOBS) lua5.4
	@rm -rf $(BUILD)/api
	@eval "$$($(MAKE) -s env LUA=lua5.4)"; lua5.4 tools/api.lua $(BUILD)/api
	@cd $(BUILD)/api && ldoc --quiet --fatalwarnings .
	@echo '$(BUILD)/api/index.html'

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
INST_DOCDIR ?= $(PREFIX)/share/doc/unbusy
CORE ?= $(BUILD)/$(LUA)/unbusy/core.so

TO_LUA = $(DESTDIR)$(INST_LUADIR)/unbusy
TO_LIB = $(DESTDIR)$(INST_LIBDIR)/unbusy
TO_BIN = $(DESTDIR)$(INST_BINDIR)
TO_DOC = $(DESTDIR)$(INST_DOCDIR)

.PHONY: install copy notices uninstall
install: $(LUA) copy notices

# An older version's modules are not left beside the new ones. The tool runs on Lua 5.4 where that
# is installed, whichever of the two comes last. Whoever installs may be careful about new files.
copy:
	rm -rf "$(TO_LUA)" "$(TO_LIB)"
	umask 022 && mkdir -p "$(DESTDIR)$(INST_LUADIR)" "$(TO_LIB)" "$(TO_BIN)"
	cp -R lua/unbusy "$(TO_LUA)" && chmod -R u=rwX,go=rX "$(TO_LUA)"
	install -m 755 $(CORE) "$(TO_LIB)/core.so"
	[ ! -f $(CORE:.so=_redis.so) ] || \
	  install -m 755 $(CORE:.so=_redis.so) "$(TO_LIB)/core_redis.so"
	! head -n 1 "$(TO_BIN)/unbusy" 2>/dev/null | grep -q 'lua5.4$$' || [ $(LUA) = lua5.4 ] || exit 0; \
	  sed '1s/lua5.4$$/$(LUA)/' bin/unbusy >"$(TO_BIN)/.unbusy.new" && \
	  chmod 755 "$(TO_BIN)/.unbusy.new" && mv "$(TO_BIN)/.unbusy.new" "$(TO_BIN)/unbusy"

notices:
	umask 022 && mkdir -p "$(TO_DOC)"
	install -m 644 LICENSE NOTICE CHANGELOG.md "$(TO_DOC)/"

# The tool and the notices go with the last of the two Luas.
OTHER = $(filter-out $(LUA),$(LUAS))
uninstall:
	rm -rf "$(TO_LUA)" "$(TO_LIB)"
	if [ -e "$(DESTDIR)$(PREFIX)/share/lua/$(ABI_$(OTHER))/unbusy" ]; then \
	  sed -i '1s/$(LUA)$$/$(OTHER)/' "$(TO_BIN)/unbusy"; \
	else rm -f "$(TO_BIN)/unbusy"; rm -rf "$(TO_DOC)"; fi

# {== LuaRocks =================================================================

VERSION := $(shell sed -n 's/^return "\(.*\)"$$/\1/p' lua/unbusy/version.lua)
NAMED    = unbusy-$(VERSION)

.PHONY: dist rock rock-install
dist:
	rm -rf $(BUILD)/dist && mkdir -p $(BUILD)/dist
	git archive --prefix=$(NAMED)/ -o $(BUILD)/dist/$(NAMED).tar.gz HEAD
	cp rockspec/$(NAMED)-1.rockspec $(BUILD)/dist/
	cd $(BUILD)/dist && zip -q $(NAMED)-1.src.rock $(NAMED)-1.rockspec $(NAMED).tar.gz

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
