// Extraction of answers, their equality in value, and the majority.
#include "../../Support/Sanitized.h"
#include "vote/vote.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <fstream>
#include <map>
#include <random>
#include <set>

using namespace m1rt;
using Json = nlohmann::json;

namespace {

/// Two answers are compared within `seconds` of processor time, in one of ten tries. Sanitizers on
/// a busy machine are some thirty times as slow; they are to find what never ends.
void expectFast(const std::string &a, const std::string &b, double seconds) {
  const double limit = m1test::repeated(seconds, 2.0);
  double best = 1e9;
  for (int round = 0; round < 10 && best >= limit; ++round) {
    std::clock_t start = std::clock();
    (void)answersEqual(a, b);
    best = std::min(best, static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC);
  }
  EXPECT_LT(best, limit) << a.substr(0, 40);
}

// Answers of MATH-500, AIME and AMC and variants of them, equal and unequal, compare as marked, in
// both directions.
TEST(Answers, PairsCompareAsMarked) {
  std::ifstream file(M1_TEXT_DATA "/answer-pairs.jsonl");
  int equal = 0, unequal = 0;
  for (std::string line; std::getline(file, line);) {
    Json pair = Json::parse(line);
    std::string given = pair["given"], expected = pair["expected"];
    bool marked = pair["equal"];
    ++(marked ? equal : unequal);
    EXPECT_EQ(answersEqual(given, expected), marked) << given << "  against  " << expected;
    EXPECT_EQ(answersEqual(expected, given), marked) << expected << "  against  " << given;
  }
  EXPECT_GE(equal, 1500);
  EXPECT_GE(unequal, 700);
}

// Every answer of the shared data sets equals itself in a few spellings, and no two integers are
// confused.
TEST(Answers, SharedDataEqualThemselves) {
  const char *named = std::getenv("M1_SHARED");
  std::string shared = named ? named : M1_SHARED_DIR;
  int count = 0;
  for (const char *name : {"math500", "aime2024", "amc2023"}) {
    std::ifstream file(shared + "/data/" + name + ".jsonl");
    for (std::string line; std::getline(file, line);) {
      std::string answer = Json::parse(line)["answer"];
      ++count;
      std::string dfrac = answer;
      for (size_t at = 0; (at = dfrac.find("\\frac", at)) != std::string::npos; at += 6)
        dfrac.replace(at, 5, "\\dfrac");
      for (const std::string &variant :
           {" " + answer + " ", "$" + answer + "$", dfrac, "\\boxed{" + answer + "}"})
        EXPECT_TRUE(answersEqual(variant, answer)) << variant;
      EXPECT_FALSE(answersEqual(answer, "987654321")) << answer;
    }
  }
  if (!count)
    GTEST_SKIP() << "no shared data next to the repository (M1_SHARED names its directory)";
  EXPECT_EQ(count, 613);
}

// Any text, however broken, is compared without a crash and equals itself.
TEST(Answers, SurviveBrokenText) {
  const std::string parts[] = {"\\frac",
                               "{",
                               "}",
                               "\\left(",
                               ")",
                               "[",
                               "]",
                               "^",
                               "_",
                               "\\sqrt",
                               "1",
                               "23",
                               "x",
                               "\\text{",
                               "\\pm",
                               ",",
                               "=",
                               "<",
                               "%",
                               "!",
                               "|",
                               "\\begin{pmatrix}",
                               "\\end{pmatrix}",
                               "&",
                               "\\\\",
                               "\\{",
                               "\\}",
                               "\\cup",
                               "\\in",
                               "\xff",
                               "数",
                               ".",
                               "-",
                               "+",
                               "/",
                               " ",
                               "\\",
                               "\\infty",
                               "log",
                               "sin"};
  std::mt19937 random(9);
  for (int round = 0; round < m1test::repeated(20000, 2000); ++round) {
    std::string a, b;
    for (size_t n = random() % 12; n > 0; --n)
      a += parts[random() % std::size(parts)];
    for (size_t n = random() % 6; n > 0; --n)
      b += parts[random() % std::size(parts)];
    EXPECT_TRUE(answersEqual(a, a)) << a;
    EXPECT_EQ(answersEqual(a, b), answersEqual(b, a)) << a << "  against  " << b;
  }
  for (const char *deep : {"(", "{", "\\frac{1}", "-", "\\sqrt", "x^", "\\left\\{", "|", "\\sin ",
                           "1\\frac{", "1\\frac{1}{", "a_{", "((1,", "x=("}) {
    std::string text;
    while (text.size() < 3500)
      text += deep;
    EXPECT_TRUE(answersEqual(text, text));
    EXPECT_FALSE(answersEqual(text, "1"));
  }
  EXPECT_FALSE(answersEqual("2^{99999999999}", "9^{99999999999}"));
}

// Braces around an answer go in one pass.
TEST(Answers, NestedBracesTakeMilliseconds) {
  const auto start = std::chrono::steady_clock::now();
  const size_t depth = 200000;
  EXPECT_TRUE(answersEqual(std::string(depth, '{') + "5" + std::string(depth, '}'), "5"));
  // Milliseconds, without sanitizers; a search for each pair by itself takes minutes.
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

// Neither nested sets nor a sample that repeats "\\boxed{" to its end take more than a moment.
TEST(Answers, TakeNoLongTime) {
  auto start = std::chrono::steady_clock::now();
  std::string a = "1", b = "1.0", boxes = "\\boxed{7}";
  for (int level = 0; level < 29; ++level) {
    a = "\\{" + a + "\\}";
    b = "\\{" + b + "\\}";
  }
  EXPECT_TRUE(answersEqual(a, b));
  for (int i = 0; i < 50000; ++i)
    boxes += "\\boxed{a";
  EXPECT_EQ(extractBoxed(boxes), std::optional<std::string>("7"));
  EXPECT_LT(std::chrono::steady_clock::now() - start,
            std::chrono::seconds(10)); // milliseconds, without sanitizers
}

// The last \boxed with balanced braces counts; escaped braces are none; a cut-off one gives way to
// the one before.
TEST(Extraction, TakesTheLastBalancedBox) {
  const std::pair<const char *, const char *> cases[] = {
      {"so \\boxed{5}.", "5"},
      {"\\boxed{1} then \\boxed{ \\frac{1}{2} }", "\\frac{1}{2}"},
      {"\\boxed{\\{1,2\\}}", "\\{1,2\\}"},
      {"\\boxed{1} and \\boxed{2", "1"},
      {"\\boxed {x^{2}}", "x^{2}"},
      {"\\boxed{\\boxed{7}}", "7"},
      {"\\boxed{}", ""},
      {"\\boxed{a\nb}", "a\nb"},
      {"\\boxed{1\\boxed{2}", "2"},
      {"} \\boxed{3}} {", "3"},
      {"\\boxed{4} {\\boxed", "4"},
      {"$\\boxed{3}$ or $\\boxed{5}$", "3, 5"},
      {"\\boxed{1}, \\boxed{2}, and \\boxed{3}.", "1, 2, 3"},
      {"\\boxed{3}. Check: \\boxed{5}", "5"},
      {"\\boxed{}, \\boxed{5}", "5"}};
  for (const auto &[text, answer] : cases)
    EXPECT_EQ(extractBoxed(text), std::optional<std::string>(answer)) << text;
  for (const char *none : {"", "5", "\\boxed 5", "\\boxed{", "boxed{5}", "\\boxed{{5}"})
    EXPECT_EQ(extractBoxed(none), std::nullopt) << none;
}

// Of a text without a box what its words announce is the answer; nothing is guessed.
TEST(Extraction, TakesWhatIsAnnounced) {
  const std::pair<const char *, const char *> cases[] = {
      {"\\boxed{5}", "5"},
      {"She has 3 + 4 = 7 apples.\n#### 7", "7"},
      {"The answer is 5.", "5"},
      {"**Answer: 42**", "42"},
      {"Answer: (B)", "(B)"},
      {"We add.\n\n**Final Answer**\n\n$$x=7$$", "$$x=7$$"},
      {"Answer\n17", "17"},
      {"Hence the probability is $\\dfrac{1}{6}$.", "\\dfrac{1}{6}"},
      {"So, the area is 25 square units.", "25"},
      {"<answer>x + 1</answer>", "x + 1"},
      {"<answer>so \\boxed{7}</answer>", "7"},
      {"<think>is it \\boxed{3}?</think> The answer is 5.", "5"},
      {"<think>it is \\boxed{3}</think>", "3"}};
  for (const auto &[text, answer] : cases)
    EXPECT_EQ(extractAnswer(text), std::optional<std::string>(answer)) << text;
  for (const char *none : {"", "5", "I don't know.", "\\boxed{", "\\boxed{}", "\\boxed{5", "3+4=7",
                           "The answer is \\boxed{5", "It might be 5, or 6."})
    EXPECT_EQ(extractAnswer(none), std::nullopt) << none;
}

// Endings of texts as models write them say what is marked, and nothing where nothing is announced.
TEST(Extraction, TextsSayWhatIsMarked) {
  std::ifstream file(M1_TEXT_DATA "/answer-texts.jsonl");
  int silent = 0, speaking = 0;
  for (std::string line; std::getline(file, line);) {
    Json text = Json::parse(line);
    const auto said = extractAnswer(text["text"]);
    ++(text["answer"].is_null() ? silent : speaking);
    EXPECT_EQ(said.has_value(), !text["answer"].is_null()) << text["text"] << said.value_or("");
    if (said && !text["answer"].is_null()) {
      EXPECT_TRUE(answersEqual(*said, text["answer"])) << text["text"] << " says " << *said;
      EXPECT_TRUE(answersEqual(text["text"], text["answer"])) << text["text"];
    }
  }
  EXPECT_GE(silent, 80);
  EXPECT_GE(speaking, 250);
}

// Values in many spellings, of one value and of near ones, and pairs of them joined.
std::vector<std::string> generatedAnswers() {
  const char *const forms[] = {
      "#",
      "#.0",
      "\\frac{2#}{2}",
      "x=#",
      "#=x",
      "3x=3(#)",
      "y=#",
      "y-(#)=0",
      "z=#",
      "#\\%",
      "\\text{#}",
      "\\{#\\}",
      "#, 1",
      "1, #",
      "\\{1,#\\}",
      "x=1 or x=#",
      "y=1 or y=#",
      "#\\pm 1",
      "x=\\pm #",
      "(#,1)",
      "(1,#)",
      "p=1, q=#",
      "[#,\\infty)",
      "x\\ge #",
      "-x\\le -(#)",
      "x<#",
      "#>x",
      "|x-(#)|<2",
      "x\\ne #",
      "y=(#)x+1",
      "(#)x+1",
      "y-(#)x=1",
      "x+(#)y=1",
      "x+y=#",
      "x-y=#",
      "m+n=#",
      "x^2+y^2=#",
      "2x^2=2(#)-2y^2",
      "(#)\\sqrt2",
      "\\frac{2(#)}{\\sqrt2}",
      "|(#)x|",
      "\\sqrt{((#)x)^2}",
      "e^{\\ln 2}+#",
      "#,200",
      "#200",
      "#, 200",
      "#{,}200",
      "#{,}5",
      "#.5",
      "#:30",
      "#:30 pm",
      "So the sum is $#$.",
      "Hence we get \\(#\\) cm.",
      "over the line $x=#$",
      "#/3",
      "\\begin{pmatrix}#&1\\end{pmatrix}",
      "x \\equiv # \\pmod 5",
      "# (mod 5)",
      "\\gcd(#,n)",
      "\\max(n,#)",
      "\\lfloor (#)x\\rfloor",
      "xy=#",
      "1 < #x+1 < 7",
      "x\\ge -5, x\\le #",
      "x\\ne #, x\\ne 2",
      "x > 1 and x \\ne #",
      "[-5,#]\\cup[2,3]",
      "x_1=1, x_2=#",
      "x=y=z=#",
      "# apples",
      "#\\text{ apples}",
      "\\textbf{(A) } #",
      "(A) #",
      "P(1,#)",
      "P(A\\cup B)=#",
      "\\sin\\theta = #",
      "\\operatorname{cis} #",
      "|x+#|",
      "\\sqrt{x^2+2(#)x+(#)^2}",
      "x+#",
      "\\frac{\\pi}{6}+#n\\pi",
      "\\frac{\\pi}{6}+#k\\pi",
      "\\pm 1\\pm #",
      "#!!",
      "101_{#}",
      "101 base #",
      "ax+b=#",
      "\\sum_{k=#}^n k",
      "\\vec{a}+#",
      "2\\begin{pmatrix}#&1\\end{pmatrix}-\\begin{pmatrix}#&1\\end{pmatrix}",
      "\\mathbb{R}\\setminus\\{#\\}",
      "[-5,5]\\setminus\\{#\\}",
      "[-5,5]-\\{#\\}",
      "\\mathbb{R}\\setminus[-5,#]",
      "x\\ne\\sqrt{#}",
      "all real numbers greater than $#$",
      "(#,1)^T",
      "\\begin{pmatrix}#\\\\1\\end{pmatrix}",
      "\\sin(#x)^2",
      "\\log_2\\frac{#}{8}",
      "-4<x<#, x\\in\\mathbb{Z}",
      "[-4,#]\\cap\\mathbb{Z}",
      "\\sqrt2x>#",
      "3x\\pm #y=0",
      "\\frac13(#,1)",
      "xy=#x",
      "(\\pm #,\\pm 1)",
      "4m+#, m\\in\\mathbb{Z}",
      "-1\\le\\sin x\\le #",
      "f(x)=#, g(x)=1",
      "y<#x+1",
      "y-#x<1"};
  std::vector<std::string> texts;
  for (const char *form : forms)
    for (const char *number : {"1", "2", "3", "-2"}) {
      std::string text = form;
      for (size_t at = 0; (at = text.find('#', at)) != std::string::npos;)
        text.replace(at, 1, number);
      texts.push_back(text);
    }
  const char *const joints[] = {", ", " or ", "\\cup ", "=", "<", "+", " "};
  std::mt19937 random(14);
  const size_t single = texts.size();
  for (int k = 0; k < 200; ++k) {
    const std::string &first = texts[random() % single], &second = texts[random() % single];
    const char *joint = joints[random() % std::size(joints)];
    texts.push_back(first + joint + second);
    texts.push_back(second + joint + first);
  }
  return texts;
}

// Equality is an equivalence on answers of every form: each equals itself, both directions agree,
// and two that equal a third are equal.
TEST(Answers, EqualityIsAnEquivalence) {
  std::vector<std::string> texts = {"100,200",
                                    "100200",
                                    "100, 200",
                                    "200, 100",
                                    "\\{100,200\\}",
                                    "100{,}200",
                                    "x=3",
                                    "y=3",
                                    "3",
                                    "3 = x",
                                    "2x=6",
                                    "x-3=0",
                                    "3, 3",
                                    "\\{3\\}",
                                    "y=2x+1",
                                    "2x+1",
                                    "y-2x=1",
                                    "x=(y-1)/2",
                                    "2x - y + 1 = 0",
                                    "z=2x+1",
                                    "f(x)=2x+1",
                                    "x+y=3",
                                    "x^2+y^2=9",
                                    "9-x^2-y^2=0",
                                    "C",
                                    "c",
                                    "\\text{C}",
                                    "\\text{(C)}",
                                    "(C)",
                                    "AB",
                                    "BA",
                                    "\\text{AB}",
                                    "\\text{BA}",
                                    "ab",
                                    "no",
                                    "on",
                                    "\\text{No}",
                                    "\\text{on}",
                                    "yes",
                                    "\\text{Yes}",
                                    "\\infty",
                                    "\\text{infinity}",
                                    "x<1",
                                    "-x>-1",
                                    "(-\\infty,1)",
                                    "x \\in (-\\infty, 1)",
                                    "x<1 or x>2",
                                    "(-\\infty,1)\\cup(2,\\infty)",
                                    "\\{(-\\infty,1),(2,\\infty)\\}",
                                    "(1,2),(3,4)",
                                    "(1,2)\\cup(3,4)",
                                    "\\{1\\}\\cup\\{2\\}",
                                    "\\{1,2\\}",
                                    "1, 2",
                                    "(1,2)",
                                    "[1,2]",
                                    "p=1,q=2",
                                    "x=\\pm1",
                                    "1,-1",
                                    "x=1 or x=-1",
                                    "0.5",
                                    "50\\%",
                                    "\\frac12",
                                    "1/2 or 0.5",
                                    "3:2",
                                    "3/2",
                                    "0,5",
                                    "0{,}5",
                                    "0, 5",
                                    "\\sum_{i=1}^{3} i",
                                    "6",
                                    "0.\\overline{3}",
                                    "1/3",
                                    "so x = 3",
                                    "x is 3",
                                    "x is not 3",
                                    "x = 3 if y = 2",
                                    "3 or more",
                                    "3\\text{ or more}",
                                    "3\\text{ cm}",
                                    "3\\text{ dozen}",
                                    "\\text{Area} = 3",
                                    "the line y = 2x+1",
                                    "a reflection over the line $y = 2x+1$",
                                    "3 feet and 2 inches",
                                    "3, 2",
                                    "1, 2, \\ldots",
                                    "11 7/6",
                                    "73/6",
                                    "0,125",
                                    "Alice and Bob",
                                    "Bob, Alice",
                                    "a circle",
                                    "circle",
                                    "all real numbers",
                                    "\\mathbb{R}",
                                    "x\\ge 1, x\\le 3",
                                    "there is no solution",
                                    "no solutions",
                                    "125"};
  for (std::string &text : generatedAnswers())
    texts.push_back(std::move(text));
  std::vector<Answer> answers(texts.begin(), texts.end());
  const size_t n = answers.size();
  size_t equalPairs = 0;
  std::vector<std::vector<bool>> equal(n, std::vector<bool>(n));
  for (size_t i = 0; i < n; ++i)
    for (size_t k = 0; k < n; ++k)
      equalPairs += equal[i][k] = answers[i].equals(answers[k]);
  for (size_t i = 0; i < n; ++i) {
    EXPECT_TRUE(Answer(texts[i] + " ").equals(answers[i])) << texts[i]; // not by its letters
    for (size_t k = 0; k < n; ++k) {
      EXPECT_EQ(equal[i][k], equal[k][i]) << texts[i] << "  " << texts[k];
      for (size_t m = 0; equal[i][k] && m < n; ++m)
        EXPECT_EQ(equal[i][m], equal[k][m]) << texts[i] << "  " << texts[k] << "  " << texts[m];
    }
  }
  EXPECT_GT(equalPairs, 3 * n); // neither all
  EXPECT_LT(equalPairs, n * n / 20);
  auto same = [&](const char *a, const char *b) { return answersEqual(a, b); };
  EXPECT_NE(same("100,200", "100200"), same("100,200", "100, 200"));
}

// On every string of the data files: equality is reflexive (also for the same with a blank more),
// symmetric and transitive, one class for each key.
TEST(Answers, EqualityIsAnEquivalenceOnAllData) {
  std::set<std::string> texts;
  for (const char *name : {"answer-pairs", "answer-texts"}) {
    std::ifstream file(std::string(M1_TEXT_DATA "/") + name + ".jsonl");
    for (std::string line; std::getline(file, line);) {
      Json each = Json::parse(line);
      for (const char *field : {"given", "expected", "text", "answer"})
        if (each.contains(field) && !each[field].is_null())
          texts.insert(each[field].get<std::string>());
    }
  }
  const std::vector<Answer> answers(texts.begin(), texts.end());
  std::map<std::string, std::vector<const Answer *>> classes;
  for (const Answer &answer : answers)
    classes[answer.classKey()].push_back(&answer);
  size_t equal = 0;
  for (const auto &[key, all] : classes) {
    EXPECT_TRUE(all.back()->equals(Answer(all.back()->text() + " "))) << all.back()->text();
    for (const Answer *a : all)
      for (const Answer *b : all)
        EXPECT_TRUE(a->equals(*b)) << a->text() << "  " << b->text();
    for (const auto &[otherKey, others] : classes)
      if (all.back()->equals(*others.front()) != (key == otherKey))
        ADD_FAILURE() << all.back()->text() << "  " << others.front()->text();
    equal += all.size() * all.size();
  }
  EXPECT_GT(equal, 4 * texts.size());
  EXPECT_GT(classes.size(), texts.size() / 5);
}

// Whatever a number measures, it is that number; numbers of two units side by side are none.
TEST(Answers, UnitsDoNotCount) {
  for (const char *one :
       {"1\\text{ m}", "1 sec", "1 kg", "1\\text{ m}^2", "1\\text{ km/h}", "1 °C", "1^\\circ F",
        "\\$1", "£1", "1¢", "1 cent", "1 unit", "1 apple", "1 mile per hour", "1 N\\cdot\\text{m}"})
    EXPECT_TRUE(answersEqual(one, "1")) << one;
  EXPECT_TRUE(answersEqual("\\$0.75", "0.75"));
  EXPECT_TRUE(answersEqual("75 cents", "75"));
  EXPECT_FALSE(answersEqual("75 cents", "0.75"));
  for (const char *two : {"5 ft 6 in", "5 feet and 6 inches", "5\\text{ ft }6\\text{ in}"})
    for (const char *other : {"5", "6", "5, 6", "56", "5.6", "5.5", "66"})
      EXPECT_FALSE(answersEqual(two, other)) << two << "  " << other;
}

// Whatever the order of the samples, the same of them count together.
TEST(Majority, ClassesDoNotDependOnTheOrder) {
  std::vector<std::string> texts = {
      "100,200",   "100200", "100, 200", "x=3",          "3",   "y=3",   "(1,2)",   "1, 2", "2, 1",
      "\\{1,2\\}", "x<1",    "-x>-1",    "(-\\infty,1)", "0.5", "50\\%", "\\frac12"};
  std::mt19937 random(5);
  auto classes = [&] {
    std::vector<std::optional<Answer>> answers;
    for (const std::string &t : texts)
      answers.emplace_back(t);
    VoteResult vote = majorityVote(answers);
    std::set<std::set<std::string>> sets;
    for (size_t i = 0; i < texts.size(); ++i) {
      std::set<std::string> together;
      for (size_t k = 0; k < texts.size(); ++k)
        if (vote.group[k] == vote.group[i])
          together.insert(texts[k]);
      sets.insert(together);
    }
    return sets;
  };
  auto first = classes();
  EXPECT_EQ(first.size(), 8u); // y = 3 is a line
  for (int round = 0; round < 50; ++round) {
    std::shuffle(texts.begin(), texts.end(), random);
    EXPECT_EQ(classes(), first);
  }
}

// No answer takes long to read and compare: sums of large factorials, nested powers and fractions,
// long lists: 20 ms. Processor time of the best of three; the bound, for builds without sanitizers,
// leaves half as much again for slower machines.
TEST(Answers, TakeMillisecondsAtMost) {
  auto repeat = [](const std::string &part, size_t size, const std::string &end = "") {
    std::string text;
    while (text.size() + part.size() <= size)
      text += part;
    return text + end;
  };
  const std::string hostile[] = {
      repeat("20000!+", 3900, "1"),
      repeat("\\binom{20000}{9999}+", 3900, "1"),
      repeat("\\sin\\cos ", 900, "x"),
      repeat("2^{", 290, "2") + std::string(96, '}'),
      repeat("\\frac{1}{", 900, "2") + std::string(90, '}'),
      repeat("\\sin 1,", 790, "2"),
      repeat("x^{0.5}+", 3900, "1"),
      std::string(3990, '9'),
      repeat("\\{1,", 145, "2") + std::string(0, '}'),
      repeat("1.0000001^{999}*", 3900, "1"),
      repeat("\\sum_{i=1}^{200} ", 900, "i"),
      repeat("\\sum_{i=1}^{20} i x+", 3900, "1=0"),
      repeat("a^3+b^3+xyz+", 1900, "1=x^2+y^2"),
      repeat("|x|+\\sqrt{y^2}+", 3900, "1"),
      repeat("x\\ne 1,", 3900, "2"),
      repeat("\\begin{pmatrix}1&x\\\\x&1\\end{pmatrix}", 3900),
      repeat("cm^{", 3900, "1"),
      repeat("3\\text{ cm over }", 3900, "x"),
      repeat("so the answer is ", 3900, "1"),
      repeat("$ 1 $ and ", 3900, "$ 2 $."),
      repeat("$ 1 is ", 3900, "2"),
      repeat("\\gcd(12,", 1000, "x") + std::string(125, ')'),
      repeat("\\lfloor x\\rfloor+", 3900, "1"),
      repeat("1 \\pmod 3, ", 3900, "2"),
      repeat("\\sum_{i=1}^{n} i^2+", 3900, "1"),
      repeat("(", 900) + "\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}" + repeat(")", 900),
      "\\begin{pmatrix}x&1&y\\\\a&b&c\\\\1&z&2\\end{pmatrix}^{-64}",
      repeat("x'", 3900),
      repeat("x\\ne 1, x \\ne 2 and ", 3900, "x > 1"),
      repeat("(1,3]\\cup[2,5)\\cap", 3900, "[1,2]"),
      repeat("]0,1[\\cup ", 3900, "]2,3["),
      repeat("xyzw=0,", 3900, "x=1"),
      repeat("x+y<", 3900, "z"),
      repeat("f(x)=x, ", 3900, "g(x)=1"),
      repeat("n \\in \\mathbb{Z}, ", 3900, "n<1"),
      "(" + repeat("\\pm 1,", 3900, "1)"),
      repeat("\\pm 1", 3900),
      repeat("\\sqrt{x^2+2x+1}+", 3900, "1"),
      repeat("(A) ", 3900, "1"),
      repeat("Ann and ", 190, "Bob"),
      repeat("A1_{16}", 3900),
      repeat("1 base 2 ", 3900),
      repeat("20000!!+", 3900, "1"),
      repeat("5 years old ", 3900),
      repeat("\\frac{d^2y}{dx^2}+", 3900, "1"),
      repeat("\\mathbf{\\hat{i}}+", 3900, "1"),
      repeat("\\mathrm{d}x", 3900),
      repeat("1.234.567,8 ", 3900),
      repeat("x^2<4,", 3900, "x>1"),
      repeat("x^2-ax<4\\text{ or }", 3900, "x>1"),
      repeat("\\overline{1+", 900, "i") + std::string(69, '}'),
      repeat("\\binom{n}{k}+", 3900, "1"),
      repeat("2^", 190, "2"),
      repeat("3 hours and ", 3900, "2"),
      repeat("5 per cent ", 3900),
      repeat("[[1,2],[3,4]],", 3900, "1"),
      repeat("\\{(x,y):y=2x\\},", 3900, "1"),
      repeat("u(x,t,", 3900, "1"),
      "\\begin{vmatrix}" + repeat("x+y+z+a+b+c&", 3900, "1") + "\\end{vmatrix}"};
  for (const std::string &a : hostile)
    for (const std::string &b : {a + "+0", a + "+1", std::string("7")})
      expectFast(a, b, 0.04); // two, of 20 ms at most
}

// Nor does looking for what a long chain of thought says.
TEST(Answers, LongTextsTakeMillisecondsAtMost) {
  constexpr size_t size = m1test::repeated(300000, 60000); // what is quadratic shows in both
  for (const std::string part : {"answer is $ ",
                                 "the answer is 5. ",
                                 "#### 5\n",
                                 "</think>",
                                 "<answer>5</answer>",
                                 "<|im_end|>",
                                 "$1$ and ",
                                 "is 5 cm cm cm ",
                                 "so she has 5 ",
                                 "\\boxed{5} ",
                                 "\\boxed{5}",
                                 "\\boxed{5} is wrong. ",
                                 "\nQ: ",
                                 "\\boxed{5},",
                                 "\\boxed{",
                                 "$$ $ \\[ ",
                                 "answer**",
                                 "5 km/h ",
                                 "\\\\frac ",
                                 " ",
                                 "## answer\n",
                                 "ans: 5\n",
                                 "so x = 5. ",
                                 "Let me know. ",
                                 "x = \\boxed{5}, ",
                                 "**5** ",
                                 "\\begin{align*}x&=5\\\\\\end{align*} ",
                                 "\\boxed ",
                                 "wait, result: 5\n",
                                 "the answer isn't 1; it's 2, or ",
                                 "答案是8。",
                                 "respuesta final ",
                                 "answer = ``` ",
                                 "所以8 ",
                                 "answer - 5 ",
                                 "$x = 5$\n",
                                 "x = 5\n=> ",
                                 "answer is 5. Actually, it's ",
                                 "- a = 5\n",
                                 "answer (A)\n",
                                 "| answer | 5 |\n",
                                 "the answer is the sum of 5, which is ",
                                 "$f(x)=5$ for all $x$ ",
                                 "(a) is correct ",
                                 "\n**1.**",
                                 "\\boxed{4}. Wait. So it is 5. ",
                                 "5 + "}) {
    std::string text;
    while (text.size() + part.size() <= size)
      text += part;
    expectFast(text, "5", 0.05); // 17 ms at most on two quiet cores
  }
}

// Most votes win across spellings, samples without answer count for nobody, and ties go to the
// answer that came first.
TEST(Majority, CountsByValue) {
  auto vote = [](const std::vector<const char *> &texts) {
    std::vector<std::optional<Answer>> answers;
    for (const char *t : texts)
      answers.push_back(t ? std::optional<Answer>(t) : std::nullopt);
    return majorityVote(answers);
  };
  VoteResult r = vote({"3", "0.5", nullptr, "\\frac12", "3.0", "50\\%"});
  EXPECT_EQ(r.winner, 1);
  EXPECT_EQ(r.votes, 3u);
  EXPECT_EQ(r.group, (std::vector<int>{0, 1, -1, 1, 0, 1}));
  r = vote({"2", "1", "1.0", "\\frac42"});
  EXPECT_EQ(r.winner, 0);
  EXPECT_EQ(r.votes, 2u);
  EXPECT_EQ(vote({nullptr, nullptr}).winner, -1);
  EXPECT_EQ(vote({}).winner, -1);
}

} // namespace
