# verify asks the engine's own loader whether the tensors make a model.
target_link_libraries(ds4-gguf PRIVATE ds4_model ds4_imatrix ds4_chat)
