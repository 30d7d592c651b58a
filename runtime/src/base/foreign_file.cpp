#include "base/foreign_file.h"

#include <algorithm>
#include <cctype>

namespace m1rt {

/// A protobuf whose first field is a piece: its text, and a score.
static bool isSentencePiece(std::string_view bytes) {
  const auto at = [&](size_t i) {
    return i < bytes.size() ? static_cast<unsigned char>(bytes[i]) : 0;
  };
  return at(0) == 0x0A && at(2) == 0x0A && at(3) < 60 && at(1) > at(3) && at(4 + at(3)) == 0x15;
}

std::string describeForeignFile(std::string_view beginning) {
  auto is = [&](std::string_view magic) { return beginning.substr(0, magic.size()) == magic; };
  if (is("version https://git-lfs.github.com/spec/"))
    return "is a Git LFS pointer, not the file itself; fetch it with 'git lfs pull' in the "
           "repository";
  if (is("GGUF"))
    return "is a GGUF file, of which m1-compile makes an artifact: m1-compile FILE.gguf -o OUT.m1a";
  if (is("PK\x03\x04"))
    return "is a zip archive (pytorch_model.bin is one, too): unpack a packed checkpoint and give "
           "its directory; convert PyTorch's files to safetensors, for instance with "
           "save_pretrained(DIR, safe_serialization=True)";
  // Protocols 2 to 5 of pickle; not the length of a safetensors header, which JSON follows.
  const bool isSafetensors = beginning.size() > 8 && beginning[8] == '{';
  if (!isSafetensors && beginning.size() >= 2 && beginning[0] == '\x80' && beginning[1] >= 2 &&
      beginning[1] <= 5)
    return "is a pickle of PyTorch; convert it to safetensors, for instance with "
           "save_pretrained(DIR, safe_serialization=True)";
  // Some editors' and shells' "Unicode"; of a safetensors header such a length would be one, too.
  if (!isSafetensors && (is("\xFF\xFE") || is("\xFE\xFF")))
    return "is text in UTF-16, expected UTF-8";
  if (is("<!DOCTYPE html") || is("<!doctype html") || is("<html"))
    return "is a web page, not the file itself; download the raw file";
  const bool isTiktoken = is("IQ== 0\n"); // "!", the first token of all of them
  if (isSentencePiece(beginning) || isTiktoken)
    return std::string("is a vocabulary of ") + (isTiktoken ? "tiktoken" : "SentencePiece") +
           ", of which transformers makes a tokenizer.json: "
           "AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)";
  return {};
}

std::string describeMissingPath(std::string_view path) {
  if (path == "-")
    return "; standard input will not do here";
  constexpr std::string_view hub = "https://huggingface.co/";
  if (path.substr(0, hub.size()) == hub) { // owner and name, without what leads to a page of it
    path.remove_prefix(hub.size());
    const size_t name = path.find('/');
    path = path.substr(0, name == path.npos ? name : path.find('/', name + 1));
  }
  size_t slash = path.find('/');
  bool isId = slash != std::string_view::npos && slash > 0 && slash + 1 < path.size() &&
              path[0] != '.' && std::all_of(path.begin(), path.end(), [&](unsigned char c) {
                return std::isalnum(c) || c == '-' || c == '_' || c == '.' || c == '/';
              });
  if (!isId || path.find('/', slash + 1) != std::string_view::npos)
    return {};
  std::string id(path);
  return "; if it is a repository of the Hugging Face hub, download it first: hf download " + id +
         " --local-dir " + id.substr(slash + 1);
}

} // namespace m1rt
