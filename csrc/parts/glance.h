/*
** glance.h: the answers that are as most are, told without decoding them.
**
** Whoever only passes an answer on needs to know that it is one, and what it has
** used. A glance says so of plain ones: JSON as RFC 8259 has it; no error in it;
** of chat and completions one choice, with a message or a text; of embeddings a
** list of something. Of all others it says nothing, and whoever asks decodes them.
*/
#ifndef UB_GLANCE_H
#define UB_GLANCE_H

#include <stddef.h>

typedef enum ub_glance_kind { UB_GLANCE_CHAT, UB_GLANCE_COMPLETE, UB_GLANCE_EMBED } ub_glance_kind;

/* A part of the text; 'at' is NULL where there is none. */
typedef struct ub_span {
  const char *at;
  size_t length;
} ub_span;

typedef struct ub_glance_answer {
  ub_span model, finish;  /* without their quotes */
  ub_span usage;          /* an object */
} ub_glance_answer;

/* 1 for a plain answer, else 0. */
int ub_glance (ub_glance_kind kind, const char *text, size_t length, ub_glance_answer *a);

#endif
