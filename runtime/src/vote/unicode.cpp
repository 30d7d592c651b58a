// Characters for commands: π for \pi, ² for ^{2}.
#include "vote/unicode.h"

#include <map>

namespace m1rt::vote {
namespace {

const std::map<std::string, std::string> kUnicode = {{"π", "\\pi "},
                                                     {"√", "\\sqrt "},
                                                     {"×", "\\times "},
                                                     {"·", "\\cdot "},
                                                     {"÷", "/"},
                                                     {"−", "-"},
                                                     {"–", "-"},
                                                     {"½", "\\frac12 "},
                                                     {"¼", "\\frac14 "},
                                                     {"¾", "\\frac34 "},
                                                     {"≈", "\\approx "},
                                                     {"∞", "\\infty "},
                                                     {"°", "\\circ "},
                                                     {"∪", "\\cup "},
                                                     {"∩", "\\cap "},
                                                     {"≤", "\\le "},
                                                     {"≥", "\\ge "},
                                                     {"≠", "\\ne "},
                                                     {"±", "\\pm "},
                                                     {"∓", "\\mp "},
                                                     {"∈", "\\in "},
                                                     {"θ", "\\theta "},
                                                     {"α", "\\alpha "},
                                                     {"β", "\\beta "},
                                                     {"\u00a0", " "},
                                                     {"\u2009", " "},
                                                     {"\u202f", " "},
                                                     {"’", "'"},
                                                     {"º", "\\circ "},
                                                     {"£", ""},
                                                     {"€", ""},
                                                     {"¥", ""},
                                                     {"₹", ""},
                                                     {"∨", "\\lor "},
                                                     {"∧", "\\land "},
                                                     {"≅", "\\cong "},
                                                     {"∼", "\\sim "},
                                                     {"✓", ""},
                                                     {"✔", ""},
                                                     {"✅", ""},
                                                     {"∎", ""},
                                                     {"ℤ", "\\mathbb{Z}"},
                                                     {"ℕ", "\\mathbb{N}"},
                                                     {"ℚ", "\\mathbb{Q}"},
                                                     {"τ", "\\tau "},
                                                     {"∑", "\\sum "},
                                                     {"∫", "\\int "},
                                                     {"Δ", "\\Delta "},
                                                     {"…", "\\ldots "},
                                                     {"∅", "\\varnothing "},
                                                     {"⟨", "\\langle "},
                                                     {"⟩", "\\rangle "},
                                                     {"≡", "\\equiv "},
                                                     {"⋅", "\\cdot "},
                                                     {"∙", "\\cdot "},
                                                     {"∖", "\\setminus "},
                                                     {"ℝ", "\\mathbb{R}"},
                                                     {"⅓", "\\frac13 "},
                                                     {"⅔", "\\frac23 "},
                                                     {"⅕", "\\frac15 "},
                                                     {"⅖", "\\frac25 "},
                                                     {"⅗", "\\frac35 "},
                                                     {"⅘", "\\frac45 "},
                                                     {"⅙", "\\frac16 "},
                                                     {"⅚", "\\frac56 "},
                                                     {"⅛", "\\frac18 "},
                                                     {"⅜", "\\frac38 "},
                                                     {"⅝", "\\frac58 "},
                                                     {"⅞", "\\frac78 "},
                                                     {"⌊", "\\lfloor "},
                                                     {"⌋", "\\rfloor "},
                                                     {"⌈", "\\lceil "},
                                                     {"⌉", "\\rceil "},
                                                     {"∠", "\\angle "},
                                                     {"△", "\\triangle "},
                                                     {"∛", "\\sqrt[3]"},
                                                     {"λ", "\\lambda "},
                                                     {"μ", "\\mu "},
                                                     {"φ", "\\phi "},
                                                     {"ω", "\\omega "},
                                                     {"γ", "\\gamma "},
                                                     {"δ", "\\delta "},
                                                     {"σ", "\\sigma "},
                                                     {"ρ", "\\rho "},
                                                     {"∴", "\\therefore "},
                                                     {"⇒", "\\Rightarrow "},
                                                     {"⟹", "\\Rightarrow "},
                                                     {"⁄", "/"},
                                                     {"∕", "/"},
                                                     {"ε", "\\epsilon "},
                                                     {"ψ", "\\psi "},
                                                     {"ξ", "\\xi "},
                                                     {"ζ", "\\zeta "},
                                                     {"η", "\\eta "},
                                                     {"κ", "\\kappa "},
                                                     {"χ", "\\chi "},
                                                     {"∂", "\\partial "},
                                                     {"∶", ":"},
                                                     {"∣", "|"},
                                                     {"∘", "\\circ "},
                                                     {"⩽", "\\le "},
                                                     {"⩾", "\\ge "},
                                                     {"≦", "\\le "},
                                                     {"≧", "\\ge "},
                                                     {"‐", "-"},
                                                     {"‑", "-"},
                                                     {"→", "\\to "},
                                                     {"⊂", "\\subset "},
                                                     {"⊆", "\\subseteq "}};
// Digits and signs above and below the line.
const std::map<std::string, char> kRaised = {
    {"⁰", '0'}, {"¹", '1'}, {"²", '2'}, {"³", '3'}, {"⁴", '4'}, {"⁵", '5'}, {"⁶", '6'},
    {"⁷", '7'}, {"⁸", '8'}, {"⁹", '9'}, {"⁻", '-'}, {"⁺", '+'}, {"ⁿ", 'n'}};
const std::map<std::string, char> kLowered = {{"₀", '0'}, {"₁", '1'}, {"₂", '2'}, {"₃", '3'},
                                              {"₄", '4'}, {"₅", '5'}, {"₆", '6'}, {"₇", '7'},
                                              {"₈", '8'}, {"₉", '9'}, {"ₙ", 'n'}};

} // namespace

std::string replaceUnicode(const std::string &text) {
  std::string out;
  const std::map<std::string, char> *line = nullptr; // above or below which the last one stood
  for (size_t i = 0; i < text.size();) {
    size_t n = static_cast<unsigned char>(text[i]) < 0x80 ? 1 : 2;
    while (n > 1 && i + n < text.size() && (static_cast<unsigned char>(text[i + n]) & 0xC0) == 0x80)
      ++n;
    std::string c = text.substr(i, n);
    const auto *on = n > 1 && kRaised.count(c)    ? &kRaised
                     : n > 1 && kLowered.count(c) ? &kLowered
                                                  : nullptr;
    if (line && line != on)
      out += '}';
    if (on && line != on)
      out += on == &kRaised ? "^{" : "_{";
    line = on;
    if (on) {
      out += on->at(c);
      i += n;
      continue;
    }
    auto it = n > 1 ? kUnicode.find(c) : kUnicode.end();
    if (it != kUnicode.end())
      out += it->second;
    else if (n == 3 && c[0] == '\xEF' && (c[1] == '\xBC' || c[1] == '\xBD') && c != "\uFF5F")
      out += static_cast<char>(0x20 + (c[1] - '\xBC') * 0x40 + (c[2] & 0x3F)); // ASCII's full-width
    else
      out += c;
    i += n;
  }
  return line ? out + '}' : out;
}

} // namespace m1rt::vote
