/*
** processes.c: the slots of a region's processes.
*/
#include "base/processes.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/region_inner.h"
#include "base/wake.h"

#define REAP_EVERY_US  UB_SECOND_US
#define DYING_US       20000  /* from a lock's news of a death to the end of the process */
#define PATIENCE_US    5000   /* for the directory's lock */

static ub_process_slot *slot_of (ub_region *r, uint32_t i) {
  return &r->header->process[i];
}

/* {== Waking ================================================================= */

static uint32_t all_waiters (const ub_process_slot *p) {
  uint32_t i, sum = 0;
  for (i = 0; i < UB_TURNS; i++)
    sum += __atomic_load_n(&p->waiters[i], __ATOMIC_SEQ_CST);
  return sum;
}

uint32_t ub_region_waiters (ub_region *r) {
  uint32_t i, sum = 0;
  for (i = 1; i < UB_PROCESSES; i++)
    sum += all_waiters(slot_of(r, i));
  return sum;
}

/* Waiters of a priority at slot 'i'; of those that are to be woken, if there is room. */
static uint32_t waiters_at (ub_region *r, uint32_t i, uint32_t priority, int to_wake) {
  const ub_process_slot *p = slot_of(r, i);
  if (to_wake && (p->address == 0 || p->woken >= all_waiters(p)))
    return 0;
  return __atomic_load_n(&p->waiters[priority], __ATOMIC_SEQ_CST);
}

/* The priorities of which somebody waits, slot 'but' apart, as a mask. */
static uint32_t priorities_waiting (ub_region *r, uint32_t but, int to_wake) {
  const ub_process_set *waiting = &r->header->waiting;
  uint32_t i, k, mask = 0;
  for (i = ub_set_next(waiting, 0); i != 0; i = ub_set_next(waiting, i)) {
    for (k = 0; k < UB_TURNS && i != but; k++)
      mask |= (uint32_t)(waiters_at(r, i, k, to_wake) > 0) << k;
  }
  return mask;
}

/* The slot, not 'but', whose turn it is, or 0; 'to_wake': of those to be woken. */
static uint32_t in_turn (ub_region *r, uint32_t but, int to_wake) {
  const ub_process_set *waiting = &r->header->waiting;
  uint32_t i, k, best = 0, mask = priorities_waiting(r, but, to_wake);
  int64_t least = INT64_MAX;
  if (mask == 0)
    return 0;
  k = ub_turns_next(&r->header->turns, mask);
  for (i = ub_set_next(waiting, 0); i != 0; i = ub_set_next(waiting, i)) {
    int64_t since = __atomic_load_n(&slot_of(r, i)->since_us[k], __ATOMIC_SEQ_CST);
    if (i == but || since >= least || waiters_at(r, i, k, to_wake) == 0)
      continue;
    least = since;
    best = i;
  }
  return best;
}

int ub_region_yields (ub_region *r) {
  uint32_t best;
  if (ub_set_empty(&r->header->waiting))
    return 0;
  best = in_turn(r, 0, 0);
  return best != 0 && best != ub_region_process(r);
}

ub_turns *ub_region_turns (ub_region *r) {
  return &r->header->turns;
}

/* As 'ub_wake_send', to slot 'i'. The count comes first: it is reset by who has read. */
static int wake (ub_region *r, uint32_t i) {
  ub_process_slot *p = slot_of(r, i);
  int heard;
  __atomic_add_fetch(&p->woken, 1, __ATOMIC_SEQ_CST);
  heard = ub_wake_send(r->wake_fd, r->header->id, p->address);
  if (heard != 1)
    __atomic_store_n(&p->woken, 0, __ATOMIC_SEQ_CST);
  return heard;
}

int ub_region_wake (ub_region *r) {
  uint32_t i, own;
  int heard;
  if (ub_set_empty(&r->header->waiting))
    return 0;
  own = ub_region_process(r);
  while ((i = in_turn(r, own, 1)) != 0) {
    if ((heard = wake(r, i)) != 0)
      return heard > 0;
    ub_set_remove(&r->header->waiting, i);  /* gone; or it will say so again */
  }
  return 0;
}

void ub_region_tell (ub_region *r, uint32_t process) {
  if (process < UB_PROCESSES && slot_of(r, process)->address != 0)
    wake(r, process);
}

/* All that wait, ourselves too. */
static void wake_all (ub_region *r) {
  const ub_process_set *waiting = &r->header->waiting;
  uint32_t i;
  for (i = ub_set_next(waiting, 0); i != 0; i = ub_set_next(waiting, i)) {
    if (slot_of(r, i)->address != 0)
      wake(r, i);
  }
}

int ub_region_wake_fd (ub_region *r, int *err) {
  uint32_t own = ub_region_process(r);
  uint64_t address;
  *err = UB_EFULL;
  if (own == 0)
    return -1;
  if (r->wake_fd >= 0)
    return r->wake_fd;
  *err = UB_ENOMEM;
  r->wake_fd = ub_wake_open(r->header->id, &address);
  if (r->wake_fd >= 0)
    __atomic_store_n(&slot_of(r, own)->address, address, __ATOMIC_SEQ_CST);
  return r->wake_fd;
}

/* The count is reset last: reset before, it would stay for what comes in between, and is read. Of
   what comes behind the reading the byte stays, and tells us. */
int ub_region_drain (ub_region *r) {
  uint32_t own = ub_region_process(r);  /* closes what was the parent's */
  int heard;
  if (r->wake_fd < 0)
    return 0;
  heard = ub_wake_drain(r->wake_fd);
  __atomic_store_n(&slot_of(r, own)->woken, 0, __ATOMIC_SEQ_CST);
  return heard;
}

void ub_region_waiting (ub_region *r, uint32_t priority, uint32_t count, int64_t since_us) {
  uint32_t own = ub_region_process(r);
  ub_process_slot *p = slot_of(r, own);
  if (own == 0)
    return;
  if (count > 0 && (priorities_waiting(r, 0, 0) >> priority & 1) == 0)
    ub_turns_join(&r->header->turns, priority);
  __atomic_store_n(&p->since_us[priority], since_us, __ATOMIC_SEQ_CST);
  __atomic_store_n(&p->waiters[priority], count, __ATOMIC_SEQ_CST);
  if (all_waiters(p) > 0)
    ub_set_add(&r->header->waiting, own);
  else
    ub_set_remove(&r->header->waiting, own);
}

/* }============================================================================ */

/* {== The dead =============================================================== */

int ub_region_lives (ub_region *r, uint32_t process) {
  const ub_process_slot *p = slot_of(r, process < UB_PROCESSES ? process : 0);
  ub_process known = {.pid = __atomic_load_n(&p->pid, __ATOMIC_SEQ_CST), .start = p->start};
  return known.pid != 0 && ub_process_lives(&known);
}

static void set_free (ub_region *r, uint32_t i) {
  ub_process_slot *p = slot_of(r, i);
  ub_set_remove(&r->header->waiting, i);
  memset(p->waiters, 0, sizeof p->waiters);
  p->woken = 0;
  p->address = 0;
  __atomic_store_n(&p->pid, 0, __ATOMIC_SEQ_CST);
}

/* Take back the slots of processes that are gone: how many. The directory is locked. */
static int bury (ub_region *r) {
  int buried = 0;
  uint32_t i;
  for (i = 1; i < UB_PROCESSES; i++) {
    const ub_process_slot *p = slot_of(r, i);
    ub_process process = {.pid = __atomic_load_n(&p->pid, __ATOMIC_SEQ_CST), .start = p->start};
    if (process.pid == 0 || ub_process_lives(&process))
      continue;
    if (!ub_blocks_release(r, i))
      continue;  /* a part is busy, or others have to do it: the next time */
    set_free(r, i);
    buried++;
  }
  return buried;
}

/* A free slot, or 0; the directory is locked. */
static uint32_t find_free (ub_region *r) {
  uint32_t i;
  for (i = 1; i < UB_PROCESSES; i++) {
    if (slot_of(r, i)->pid == 0)
      return i;
  }
  return 0;
}

static void reap (ub_region *r, int64_t patience_us) {
  int buried, room;
  if (!ub_directory_lock(r, patience_us))
    return;
  buried = bury(r);
  room = find_free(r) != 0;
  if (room)
    ub_blocks_release(r, 0);  /* nobody has to be without a slot now; who has died is not known */
  ub_directory_unlock(r);
  if (r->slot == 0 && room)
    r->mark = 0;  /* there is one for us */
  if (buried > 0)
    wake_all(r);
}

void ub_region_reap (ub_region *r) {
  int64_t *at = &r->header->reap_at_us;
  int64_t now = ub_region_now(), due = __atomic_load_n(at, __ATOMIC_RELAXED);
  if (now < due)
    return;
  if (__atomic_compare_exchange_n(at, &due, now + REAP_EVERY_US, 0, __ATOMIC_SEQ_CST,
                                  __ATOMIC_SEQ_CST))
    reap(r, 0);
}

void ub_region_reap_now (ub_region *r) {
  reap(r, PATIENCE_US);
}

void ub_region_died (ub_region *r) {
  reap(r, PATIENCE_US);
  __atomic_store_n(&r->header->reap_at_us, ub_region_now() + DYING_US, __ATOMIC_SEQ_CST);
}

/* }============================================================================ */

/* {== Our own slot =========================================================== */

/* This process is new here: a slot of its own, and its parts use it. */
static void claim (ub_region *r) {
  ub_process self = ub_process_self();
  if (r->wake_fd >= 0)
    close(r->wake_fd);  /* inherited: it is the parent's, who goes on with it */
  r->wake_fd = -1;
  r->slot = 0;
  r->mark = ub_process_mark();
  if (!ub_directory_lock(r, -1))
    return;
  r->slot = find_free(r);
  if (r->slot == 0 && bury(r) > 0)
    r->slot = find_free(r);
  if (r->slot != 0) {
    ub_blocks_release(r, 0);  /* what we have held without one: as 'reap' does */
    slot_of(r, r->slot)->start = self.start;
    __atomic_store_n(&slot_of(r, r->slot)->pid, self.pid, __ATOMIC_SEQ_CST);
  }
  ub_blocks_claim(r);
  ub_directory_unlock(r);
}

uint32_t ub_region_process (ub_region *r) {
  if (r->mark != ub_process_mark())
    claim(r);
  return r->slot;
}

void ub_processes_leave (ub_region *r) {
  if (r->slot == 0 || !ub_directory_lock(r, PATIENCE_US))
    return;  /* it is taken back when the process has ended */
  if (ub_blocks_release(r, r->slot))
    set_free(r, r->slot);
  ub_directory_unlock(r);
}

/* }============================================================================ */
