// Without a file of this kind the compiler asks for the bodies of the functions that
// argon2id.go takes from the library.
