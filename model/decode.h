/* One token after another: a forward pass over new rows alone, which attend to the keys and values of all rows before.
 * What it computes is transformer_forward over the whole sequence, but for rounding: a product over fewer rows may sum in another
 * order. Sequences are of equal length, each one document from position 0. Test: tests/test_decode.c */
#ifndef MODEL_DECODE_H
#define MODEL_DECODE_H

#include "model/transformer.h"

struct decoder;

/* Room for B sequences of `positions` tokens, read at most `rows` of each in one pass: activations for B*rows rows, and
 * L*B*positions*2*NKV*HD values of the activations' type for keys and values. Called dry, then real; decoder_free releases the
 * struct, the arena's owner its memory. ops is borrowed, and reserved for transformer_limits(arch, B*rows, ...). */
int decoder_init(struct decoder **out, struct ops *, const struct arch *, int B, int positions, int rows, struct arena *device, struct err *);
void decoder_free(struct decoder *); /* NULL is fine */
/* Rotary tables (host -> device), once the arena is real. */
void decoder_upload_tables(struct decoder *);

/* Positions held by each sequence. */
int decoder_filled(const struct decoder *);
/* Forgets all but the first n positions, n <= filled. */
void decoder_rewind(struct decoder *, int n);
/* Appends T >= 1 tokens to every sequence: ids (B, T) on the host, in [0, V), filled + T <= positions. Returns the final norm's
 * output of each sequence's last row, (B, C) act on the device, valid until the next call: the output head's input. */
const void *decoder_append(struct decoder *, const struct params *, const int32_t *ids, int T);

#endif
