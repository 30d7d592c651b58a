/* The version of these headers. That of the library at run time: m1_runtime_version_number. */
#ifndef M1_VERSION_H
#define M1_VERSION_H

#define M1_VERSION_MAJOR 0
#define M1_VERSION_MINOR 1
#define M1_VERSION_PATCH 0
#define M1_VERSION_STRING "0.1.0"

/* Comparable: 10000 * major + 100 * minor + patch. */
#define M1_VERSION_NUMBER (M1_VERSION_MAJOR * 10000 + M1_VERSION_MINOR * 100 + M1_VERSION_PATCH)

#endif
