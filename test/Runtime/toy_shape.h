// Sizes of the toy model; plain C.
#ifndef M1_TEST_TOY_SHAPE_H
#define M1_TEST_TOY_SHAPE_H

#define TOY_VOCABULARY 97
#define TOY_WIDTH 12
#define TOY_PAGE 8        // positions of a KV page: small, so that short sequences cross pages
#define TOY_POSITIONS 200 // longest context

#endif
