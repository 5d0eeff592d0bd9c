/*
** topk.h: which keys come most often, out of a stream that no table could hold.
**
**   block:  [ ub_topk | counters | heap | heads | keys | notes ]
**
**   heads[hash] ──► counter ──► counter      the hash index: chains of counters
**                    │    ▲
**             place  ▼    │ counter
**                   heap[0] has the least count
**
** Space-Saving (Metwally, Agrawal, El Abbadi: "Efficient computation of
** frequent and top-k elements in data streams", ICDT 2005). A key that is
** listed is counted. One that is not takes over the counter of the least
** count: it gets that count, as it may have come so often before, plus its
** own; and the count taken over is its error. So always:
**
** - count - error <= the times it came <= count, for every listed key;
** - a key that came more than total / counters times is listed;
** - one that is not listed came at most 'least' times.
**
** The paper keeps the counters in buckets, one for each count, which adding n at
** once would have to walk; here a heap has the least count on top, and an
** addition sinks by at most log2(counters) steps. A frequent key's counter lies
** low in the heap already and seldom moves.
**
** With a half-life, what came so long ago counts half, and so on; all that is
** said above holds for the sums of what is left. Nobody goes through the
** counters for that: what comes now weighs more than what came before (forward
** decay: Cormode, Shkapenyuk, Srivastava, Xu, ICDE 2009), and what is read is
** divided by the weight of now. After 32 half-lives all are brought down by the
** same power of two, which changes no order. Time is taken in 64ths of a
** half-life, and never goes back.
**
** Whole keys are told apart. What is longer than 'key_bytes' is known by those
** first bytes, its whole length and two seeded 64-bit hashes of all of it: keys
** that share their beginning (prompts do) are counted apart. A note may be kept
** beside a key: it is wanted of one that came twice for certain, and wiped out
** with the key.
**
** Counts end at 2^53, which a double holds exactly: what comes then changes
** nothing. Indices, no pointers: the block may lie anywhere.
*/
#ifndef UB_TOPK_H
#define UB_TOPK_H

#include "base/region.h"

#define UB_TOPK_MOST      (1u << 20)             /* counters */
#define UB_TOPK_MOST_KEY  (1u << 20)             /* bytes kept of a key, or of a note */
#define UB_TOPK_END       ((uint64_t)1 << 53)    /* where counts end */

typedef struct ub_topk_config {
  uint32_t counters;      /* 1 to UB_TOPK_MOST */
  uint32_t key_bytes;     /* 1 to UB_TOPK_MOST_KEY */
  uint32_t note_bytes;    /* 0 to UB_TOPK_MOST_KEY; 0: no notes */
  int64_t half_life_us;   /* 1000 and more; 0: what came counts for ever */
  uint64_t seed;          /* of the hashes; nothing else depends on it */
} ub_topk_config;

typedef struct ub_topk {
  ub_topk_config config;
  uint64_t seeds[2];  /* of a key's two hashes */
  double total;       /* all that was added; weighed, as all counts here are */
  double weight;      /* of one that comes at 'step' */
  int64_t start_us;   /* when one that came weighed 1 */
  int64_t step;       /* 64ths of half-lives since then */
  uint64_t arrivals;  /* counters taken so far, by keys that were not listed */
  uint32_t used, mask;  /* counters that have a key; chains of the index, less one */
} ub_topk;

/* Keys of different spaces never meet, whatever their bytes. */
typedef struct ub_topk_key {
  const void *bytes;
  size_t length;
  uint32_t space;
} ub_topk_key;

/* A listed key. Its bytes stay where they are until the next 'add' or 'clear'. */
typedef struct ub_topk_entry {
  const char *key, *note;  /* no note: NULL */
  size_t length, note_length;
  int cut;  /* 1: 'key' is only the beginning, up to a whole UTF-8 character */
  uint64_t mark;  /* a hash of the whole key, the same everywhere and always */
  double count, error;
} ub_topk_entry;

/* The whole block; it never grows. Pages that no key came to are not touched. */
size_t ub_topk_size (const ub_topk_config *config);

void ub_topk_init (ub_topk *t, const ub_topk_config *config, int64_t now_us);

void ub_topk_clear (ub_topk *t);  /* forget all keys */

/* The key came 'n' times (1 to UB_TOPK_END). 1 when a note is wanted of it, else 0. */
int ub_topk_add (ub_topk *t, const ub_topk_key *key, uint64_t n, int64_t now_us);

/* Keep a note beside a key: 1; 0 where it is not listed, or for a note there is no room for:
   then none is wanted of it any more. */
int ub_topk_note (ub_topk *t, const ub_topk_key *key, const char *note, size_t length);

/* It is that time now. What is read below is as of the latest time told. */
void ub_topk_move (ub_topk *t, int64_t now_us);

double ub_topk_total (const ub_topk *t);  /* all that was added */
double ub_topk_least (const ub_topk *t);  /* how often a key not listed may have come */

/*
** The counters of the 'n' greatest counts to 'out', greatest first, and how
** many they are (n, or 'used' if that is less). Of equal counts the smaller
** error stands first, then the key that has been listed longer.
*/
uint32_t ub_topk_top (const ub_topk *t, uint32_t *out, uint32_t n);

/* What a counter that 'ub_topk_top' gave stands for. */
ub_topk_entry ub_topk_get (const ub_topk *t, uint32_t counter);

/* In a region; what a process died at clears it. */
extern const ub_part_type ub_topk_part;

#endif
