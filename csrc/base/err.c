/*
** err.c: code words and sentences of the errors in err.h.
*/
#include "base/err.h"

#include <stddef.h>

const char *ub_err_word (int err) {
  switch (err) {
#define UB_WORD(name, number, word, text) case name: return word;
    UB_ERRORS(UB_WORD)
#undef UB_WORD
    default: return NULL;
  }
}

const char *ub_err_text (int err) {
  switch (err) {
#define UB_TEXT(name, number, word, text) case name: return text;
    UB_ERRORS(UB_TEXT)
#undef UB_TEXT
    default: return "no error";
  }
}
