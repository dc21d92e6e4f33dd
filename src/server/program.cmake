include(embed)
ds4_embed(ds4-server ${CMAKE_SOURCE_DIR}/src/server/openapi.json ds4_openapi_json)
