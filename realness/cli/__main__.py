from realness.cli import main

main()
