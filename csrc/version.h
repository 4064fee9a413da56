// Which ops a library has, for whatever loads it.
#pragma once

#define TAGNN_FAST_PUBLIC __attribute__((visibility("default")))

extern "C" {
// The version of this library's ops: the package's, "+", and a hash of the sources.
TAGNN_FAST_PUBLIC const char* tagnn_fast_version();
// Why this library's ops are not the ones registered in this process, in a line; null where they, or another copy of
// the same version, are.
TAGNN_FAST_PUBLIC const char* tagnn_fast_load_error();
}
