// The page at /: page.html, kept in the program.
#ifndef M1_TOOLS_SERVE_PAGE_H
#define M1_TOOLS_SERVE_PAGE_H

#include <string>

namespace m1serve {

const std::string &pageText();

} // namespace m1serve

#endif
