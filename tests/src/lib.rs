//! Nothing here: the tests of the workspace are the test target `it`.
