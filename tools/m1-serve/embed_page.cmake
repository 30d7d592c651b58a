# cmake -DOUTPUT=f.cpp -DPAGE=page.html -P embed_page.cmake: the page as text, for a program that is installed without files.
file(READ ${PAGE} content)
file(WRITE ${OUTPUT} "#include \"page.h\"\nnamespace m1serve {\nconst std::string &pageText() {\n"
  "  static const std::string text = R\"m1page(${content})m1page\";\n  return text;\n}\n}\n")
