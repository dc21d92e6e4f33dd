# The script behind ds4_embed: -DINPUT -DOUTPUT -DSYMBOL.
file(READ ${INPUT} bytes HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
file(WRITE ${OUTPUT} "#include <stddef.h>\nextern const unsigned char ${SYMBOL}[];\nextern const size_t ${SYMBOL}_size;\n"
  "const unsigned char ${SYMBOL}[] = {${bytes}};\nconst size_t ${SYMBOL}_size = sizeof ${SYMBOL};\n")
