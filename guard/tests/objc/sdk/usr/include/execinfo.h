#pragma once
int backtrace(void **, int);
