// Files that are often given in the place of another: what they are, and what to do.
#ifndef M1RT_BASE_FOREIGN_FILE_H
#define M1RT_BASE_FOREIGN_FILE_H

#include <string>
#include <string_view>

namespace m1rt {

/// What a file with this beginning is, and what to do with it, for a message after the file's name;
/// empty when it is none of those known: a Git LFS pointer, GGUF, zip, a pickle of PyTorch, HTML,
/// UTF-16, vocabularies of SentencePiece and tiktoken. 64 bytes suffice.
std::string describeForeignFile(std::string_view beginning);

/// What may be meant by a path where nothing is: a repository of the Hugging Face hub, by id or
/// address, or standard input. Begins with "; ", or is empty.
std::string describeMissingPath(std::string_view path);

} // namespace m1rt

#endif
